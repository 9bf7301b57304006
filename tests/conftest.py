"""Fixtures: the folder of real votes, and tiny backbones made on the spot."""

import gc
import importlib.util
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from dissensus.records import Margin, Pair

# torch and transformers, which take seconds to import, are imported where a fixture needs them.

# A shared machine may be slow; what a property says does not depend on the clock.
settings.register_profile("dissensus", deadline=None)
settings.load_profile("dissensus")


def pytest_configure(config: pytest.Config) -> None:
    """Keep what the tests cache in the checkout, out of the user's own cache."""
    os.environ.setdefault("DISSENSUS_CACHE", str(config.rootpath / ".pytest_cache" / "dissensus"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files of slow tests, the site first of all: no process shall have one left when others have ended."""
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: (item.path.name != "test_site.py", item.path not in slow))


@pytest.fixture(autouse=True, scope="module")
def _keep_what_is_loaded() -> None:
    """Collect no garbage among what is loaded, such as torch: a training makes several collections of half a second."""
    gc.collect()
    gc.freeze()


def _beside(name: str) -> ModuleType:
    """Import a module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    folder = _beside("real_data").real_data_dir()
    if folder is None:
        pytest.skip("no real votes here; set DISSENSUS_REAL_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Callable[[], str]]:
    """``postgres_server()``: the URL of a new database of Debian's server."""
    from .annotate import postgres

    if postgres.binaries() is None:
        pytest.skip("no PostgreSQL: install Debian's package postgresql")
    pytest.importorskip("psycopg")
    with postgres.server() as fresh:
        yield fresh


@pytest.fixture(scope="session")
def arguments(real_data_dir: Path) -> list[Any]:
    """The pairs of the real votes on arguments, of which all have votes."""
    from dissensus.files import read_pairs

    return list(read_pairs(real_data_dir / "arguments.jsonl.gz", notice=lambda _: None))


def _peak_memory(work: Callable[[], object]) -> int:
    """Do some work and return the most bytes that it held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="session")
def peak_memory() -> Callable[[Callable[[], object]], int]:
    return _peak_memory


TEXT = "the a good bad answer question why how long short it is not very clear wrong right yes no maybe"
WORDS = TEXT.split()
CHAT = "{% for m in messages %}<s>{{ m['role'] }} : {{ m['content'] | trim }}</s>{% endfor %}"


def _tokenizer(specials: list[str], extra: list[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate([*specials, *extra, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=specials[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    backend = _tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], [])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_deberta(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DeBERTa-v3's layout, with the tokenizer of `tiny_bert`."""
    import torch
    from transformers import AutoTokenizer, DebertaV2Config, DebertaV2ForSequenceClassification

    folder = tmp_path_factory.mktemp("tiny-deberta")
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=8,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        num_labels=1,
        initializer_range=0.5,
    )
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-llama")
    backend = _tokenizer(["[PAD]", "[UNK]", "<s>", "</s>"], ["user", "assistant", ":"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=CHAT,
        model_input_names=["input_ids", "attention_mask"],
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=1,
        pad_token_id=0,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_judge() -> Callable[..., Path]:
    """``make_judge(folder, **settings)`` saves a tiny language model that answers like a judge."""
    from dissensus.judges.local.tiny import make_judge

    return make_judge


@pytest.fixture(scope="session")
def tiny_judge(make_judge: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model that always answers ``Choice: A`` or ``Choice: B``, as what it reads makes it."""
    return make_judge(tmp_path_factory.mktemp("tiny-judge"))


@pytest.fixture(scope="session")
def pairs() -> list[Pair]:
    """24 pairs of 6 prompts; the better response says 'good', whichever side it stands on."""
    rows = []
    for i in range(24):
        good, bad = f"a {'very ' * (i % 3)}good answer", f"a {'very ' * (i % 2)}bad answer {WORDS[i % 20]}"
        flip = i % 2 == 1
        rows.append(
            Pair(
                id=f"p{i}",
                prompt=f"question why {WORDS[i % 6]}",
                response_a=bad if flip else good,
                response_b=good if flip else bad,
                label="b" if flip else "a",
            )
        )
    return rows


@pytest.fixture(scope="session")
def more_pairs(pairs: list[Pair]) -> list[Pair]:
    """240 pairs of 60 prompts, of which a tenth is enough to calibrate on."""
    return [
        p.model_copy(update={"id": f"{p.id}-{i}", "prompt": f"{p.prompt} {WORDS[i]}", "group": f"{p.group} {i}"})
        for i in range(10)
        for p in pairs
    ]


@pytest.fixture(scope="session")
def margins(pairs: list[Pair]) -> list[Margin]:
    """Ten judgments each, all of them with the label."""
    return [
        Margin(
            pair_id=p.id,
            margin=(i % 6) / 5,
            preference_a=0.5 + (i % 6) / 10 * (1 if p.label == "a" else -1),
            n_judgments=10,
        )
        for i, p in enumerate(pairs)
    ]
