"""llama.cpp's own server on 127.0.0.1, out of a wheel: what others start as llama-server.

    scripts/llama-server MODEL.gguf --port 8000 [--context 4096] [--parallel 1] [--threads 1]

Prints its address when it is ready, and ends on SIGTERM or Ctrl-C. Needs what scripts/install-llama-server installs.
"""

import argparse
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Serve one model until somebody ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a GGUF file")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--context", type=int, default=4096, help="tokens of a prompt with its reply")
    parser.add_argument("--parallel", type=int, default=1, help="requests at once, each with the whole context")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--verbose", action="store_true", help="llama.cpp's log")
    options = parser.parse_args()
    if not options.model.is_file():
        raise SystemExit(f"{options.model}: no such file; give a GGUF file")
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before there are threads, which inherit it
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.model.name}  # else the path is the model's name, and so part of a judge's
    params.hostnames, params.port = ["127.0.0.1"], options.port
    # llama.cpp deals its context out to the requests that it serves at once.
    params.n_parallel, params.n_ctx = options.parallel, options.context * options.parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.ui = False
    if not options.verbose:
        params.verbosity = -1
    try:
        server = xllamacpp.Server(params)
    except RuntimeError:
        raise SystemExit(
            f"{options.model}: llama.cpp does not serve it: no model that it can read, or port {options.port} is taken"
            " (--verbose shows its log)"
        ) from None
    print(server.listening_address, flush=True)
    signal.sigwait(signals)
    sys.stdout.flush()
    os._exit(0)  # its threads have nothing to save, and some are still at an answer


if __name__ == "__main__":
    main()
