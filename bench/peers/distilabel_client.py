"""Ask a server with distilabel's OpenAI client; run by judge_engine.py in an environment that has distilabel.

python distilabel_client.py URL REQUESTS BATCH < prompts.json
"""

import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")

from distilabel.models.llms import OpenAILLM  # noqa: E402


def main() -> None:
    url, requests, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    prompts = json.load(sys.stdin)
    llm = OpenAILLM(model="stub", base_url=url, api_key="none", timeout=120)
    llm.load()
    inputs = [[{"role": "user", "content": prompts[i % len(prompts)]}] for i in range(requests)]
    llm.generate_outputs(inputs=inputs[:20], num_generations=1, max_new_tokens=16, temperature=1.0, top_p=0.9)
    start = time.perf_counter()
    answered = 0
    for at in range(0, requests, batch):
        outputs = llm.generate_outputs(
            inputs=inputs[at : at + batch], num_generations=1, max_new_tokens=16, temperature=1.0, top_p=0.9
        )
        answered += sum(len(output["generations"]) for output in outputs)
    print(json.dumps({"answered": answered, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
