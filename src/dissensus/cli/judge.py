"""``dissensus judge``: pairs in, judgments into a store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dissensus.cli.complete_paths import complete_file, complete_source
from dissensus.cli.outputs import Output, Source, Verb
from dissensus.errors import InputError, JudgeError

if TYPE_CHECKING:
    from dissensus.judge import JudgeSummary, JudgmentStore
    from dissensus.judge.language.backends import BackendConfig
    from dissensus.judge.language.run_model import AskingSummary
    from dissensus.records import Pair

_MODELS = ("local", "server", "vllm")
_SERVER_OPTIONS = """
    base_url api key_variable context timeout concurrency rpm tpm price max_cost patience retries ask_refused probe
    refresh_probe
"""
_MODEL_OPTIONS = """
    model revision template personas persona_file order mode temperature top_p max_tokens force_prefix take_over
"""
_BELONGS: dict[str, tuple[str, ...]] = {
    "encoder": ("committee",),
    "label_is_a_vote": ("votes",),
    "n": ("committee", *_MODELS),
    "seed": ("committee", *_MODELS),
    "device": ("local",),
    "dtype": ("local", "vllm"),
    **dict.fromkeys(_SERVER_OPTIONS.split(), ("server",)),
    **dict.fromkeys(_MODEL_OPTIONS.split(), _MODELS),
}
"""Which judges an option means something to."""


class _Price(click.ParamType[tuple[float, float]]):
    name = "PROMPT/REPLY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            prompt, reply = (float(part) for part in value.split("/"))
        except ValueError:
            self.fail(f"{value}: not two prices; give dollars per million tokens, such as 0.5/1.5", param, ctx)
        return prompt, reply


@click.command(name="judge", cls=Verb)
@click.argument("pairs", required=False, type=Source(), shell_complete=complete_source)
@click.option(
    "--judge", "judge_name", default="committee", show_default=True, help="committee, votes, local, server or vllm."
)
@click.option("--store", type=Output("store"), help="The SQLite file of judgments.  [required]")
@click.option("--n", type=click.IntRange(min=1), default=10, show_default=True, help="Judgments per pair.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option(
    "--encoder",
    type=Source(),
    default="minilm",
    show_default=True,
    help="committee: minilm, a model's folder or a Hub id.",
)
@click.option(
    "--label-is-a-vote/--label-is-no-vote",
    default=None,
    help="votes: whether the label is one of the votes, and so is left out of them; as the pairs say by default (pairs "
    "--label one-vote).",
)
@click.option(
    "--model",
    type=Source(),
    shell_complete=complete_file,
    help="Models: a folder, a Hub id, or the server's name for it (default: its only one).",
)
@click.option("--revision", help="Models: of a Hub id.")
@click.option(
    "--mode",
    type=click.Choice(["sample", "exact"]),
    default="sample",
    show_default=True,
    help="Models: sampled replies, or probabilities read off the model.",
)
@click.option(
    "--order",
    type=click.Choice(["ab", "ba", "both"]),
    default="both",
    show_default=True,
    help="Models: which response is shown first.",
)
@click.option(
    "--template",
    type=Source(),
    default="paper",
    show_default=True,
    help="Models: paper, people or a text file with {prompt}, {answer_0}, {answer_1}.",
)
@click.option(
    "--persona", "personas", multiple=True, help="Models: a line such as 'You are a nurse.'; several take turns."
)
@click.option(
    "--persona-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Models: personas, one a line."
)
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
@click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), default=0.9, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=1), default=16, show_default=True, help="Models: of a reply.")
@click.option(
    "--force-prefix", is_flag=True, help="exact: stay exact where the model would not surely begin with 'Choice:'."
)
@click.option("--take-over", is_flag=True, help="Models: count unfinished runs of other hosts as dead.")
@click.option("--device", help="local: cuda, cpu, …")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="local, vllm: precision; auto is the weights' own, or float32 where the processor only emulates it.",
)
@click.option("--base-url", help="server: such as http://127.0.0.1:8000/v1.")
@click.option("--api", type=click.Choice(["chat", "completions"]), default="chat", show_default=True)
@click.option(
    "--key-variable",
    default="OPENAI_API_KEY",
    show_default=True,
    help="server: the environment variable that holds the key.",
)
@click.option("--context", type=click.IntRange(min=1), help="server: tokens its model holds, where it does not say.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="server: seconds for an answer.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="server: requests in flight at most.",
)
@click.option("--rpm", type=click.FloatRange(min=0, min_open=True), help="server: requests per minute at most.")
@click.option("--tpm", type=click.FloatRange(min=0, min_open=True), help="server: tokens per minute at most.")
@click.option(
    "--price",
    type=_Price(),
    default=(0.0, 0.0),
    help="server: dollars per million tokens of prompt and reply, such as 0.5/1.5.",
)
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0),
    help="server: stop before this judge has cost so many dollars in this store.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="server: seconds that it may be gone, or too busy to answer.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="server: how often a failed request is repeated.",
)
@click.option("--ask-refused", is_flag=True, help="server: ask again what it refused in an earlier run.")
@click.option("--probe", is_flag=True, help="server: print what it really supports, and ask nothing else.")
@click.option("--refresh-probe", is_flag=True, help="server: probe it even if it is known.")
@click.pass_context
def command(click_context: click.Context, /, **options: Any) -> None:
    """Judge PAIRS and keep the judgments in a store.

    PAIRS is a file of pairs. Judgments that the store has are not made again, so a run that was stopped goes on
    where it was.

    \b
    committee  n small reward models, each voting on pairs it did not learn from
    votes      each pair's own human votes other than a label drawn from them
    local      a language model in this process (transformers)
    server     a language model behind an OpenAI-compatible server
    vllm       a language model in this process (vLLM)
    """
    name = options["judge_name"]
    judges: dict[str, Callable[[dict[str, Any]], None]] = {
        "committee": _committee,
        "votes": _votes,
        **dict.fromkeys(_MODELS, _language_model),
    }
    if name not in judges:
        raise InputError(f"--judge {name}: no such judge; choose one of {', '.join(judges)}")
    _refuse_strangers(click_context, name)
    if options["probe"]:
        _probe(options)
        return
    for what, value in (("PAIRS", options["pairs"]), ("--store", options["store"])):
        if value is None:
            raise click.UsageError(f"Missing {what}.", click_context)
    judges[name](options)


def _refuse_strangers(context: click.Context, judge: str) -> None:
    """Refuse an option that this judge would not heed."""
    for parameter in context.command.params:
        option = parameter.name or ""
        given = context.get_parameter_source(option) is ParameterSource.COMMANDLINE
        if given and judge not in _BELONGS.get(option, (judge,)):
            raise InputError(
                f"{parameter.opts[0]} means nothing to --judge {judge}, but to {' and '.join(_BELONGS[option])}; "
                "leave it out, or choose another judge"
            )


def _committee(options: dict[str, Any]) -> None:
    from dissensus.judge import Committee, CommitteeConfig
    from dissensus.text.encoder import load_encoder

    config = CommitteeConfig(n=options["n"], seed=options["seed"], encoder=options["encoder"])
    encoder = load_encoder(options["encoder"], max_length=config.max_length)
    _judge(options, lambda rows: Committee(rows, config, encoder, progress=not options["quiet"]))


def _votes(options: dict[str, Any]) -> None:
    from dissensus.judge import HumanVotes

    judge = _judge(options, lambda rows: HumanVotes(rows, label_is_a_vote=options["label_is_a_vote"]))
    if judge.left_out:
        click.echo(f"label      left out of the votes of {judge.left_out:,} pairs: it was drawn from them")
    if judge.counted_whole and options["label_is_a_vote"] is None:
        click.echo(
            f"label      none of the votes of {judge.counted_whole:,} pairs, which all count; where it was drawn from "
            "them, judge with --label-is-a-vote"
        )


def _judge(options: dict[str, Any], make: Callable[[list[Pair]], Any]) -> Any:
    from dissensus.judge import JudgmentStore, judge_pairs
    from dissensus.sources import read_pairs

    rows = list(read_pairs(options["pairs"]))
    judge = make(rows)
    with JudgmentStore(options["store"]) as opened:
        _print(judge_pairs(rows, judge, opened, progress=not options["quiet"]), options["store"])
    return judge


def _language_model(options: dict[str, Any]) -> None:
    from dissensus.files import PairFile
    from dissensus.judge import JudgmentStore
    from dissensus.judge.language.backends import open_backend
    from dissensus.judge.language.messages import Sampling
    from dissensus.judge.language.plan import LanguageJudge
    from dissensus.judge.language.prompt import load_template
    from dissensus.judge.language.run_model import ask_model, nothing_judged
    from dissensus.sources import read_pairs

    template = load_template(options["template"])
    personas = _personas(options)
    # Before anything is loaded or paid for, the whole file is read once: a fault in its last line shows now.
    pairs = PairFile(options["pairs"], read=read_pairs)
    asking = _asking(options)
    backend, model = open_backend(
        _backend(options),
        options["model"],
        revision=options["revision"],
        exact=options["mode"] == "exact",
        sampling=Sampling(options["temperature"], options["top_p"], options["max_tokens"], options["seed"]),
        patience=options["patience"],
        refresh_probe=options["refresh_probe"],
    )
    config = _language_config(options, model, personas)
    judge = LanguageJudge(config, backend.identity, template=template)
    with JudgmentStore(options["store"]) as opened:
        summary = ask_model(pairs, judge, backend, opened, asking, total=len(pairs))
        _print_asked(summary, opened)
        why = nothing_judged(summary, opened)
    if summary.stopped == "interrupted":
        click.echo("dissensus: stopped; run the same command again to go on", err=True)
        sys.exit(130)
    if why:
        raise JudgeError(why)


def _personas(options: dict[str, Any]) -> tuple[str, ...]:
    return (*options["personas"], *(_persona_lines(options["persona_file"]) if options["persona_file"] else ()))


def _persona_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"--persona-file {path}: is not UTF-8 text ({error}); save it as UTF-8") from error
    return [line.strip() for line in lines if line.strip()]


def _language_config(options: dict[str, Any], model: str, personas: tuple[str, ...]) -> Any:
    from pydantic import ValidationError

    from dissensus.judge.language.plan import LanguageConfig

    names = ("revision", "template", "order", "mode", "n", "temperature", "top_p", "max_tokens", "seed")
    try:
        return LanguageConfig(model=model, personas=personas, **{name: options[name] for name in names})
    except ValidationError as error:
        raise InputError(f"--judge: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _backend(options: dict[str, Any]) -> BackendConfig:
    from dissensus.judge.language.backends import BackendConfig

    names = ("device", "dtype", "base_url", "api", "key_variable", "context", "timeout")
    return BackendConfig(backend=options["judge_name"], **{name: options[name] for name in names})


def _asking(options: dict[str, Any]) -> Any:
    from dissensus.judge.language.job import AskingOptions
    from dissensus.judge.store.attempts import Price

    if options["max_cost"] is not None and not any(options["price"]):
        raise InputError("--max-cost: nothing costs anything without a price; give one such as --price 0.5/1.5")
    return AskingOptions(
        concurrency=options["concurrency"],
        requests_per_minute=options["rpm"],
        tokens_per_minute=options["tpm"],
        price=Price(*options["price"]),
        max_cost=options["max_cost"],
        patience=options["patience"],
        retries=options["retries"],
        force_prefix=options["force_prefix"],
        ask_refused=options["ask_refused"],
        take_over=options["take_over"],
        progress=not options["quiet"],
    )


def _probe(options: dict[str, Any]) -> None:
    from dissensus.judge.language.backends import probe_server

    click.echo(probe_server(_backend(options), options["model"], refresh=True, patience=options["patience"]).describe())


def _print(summary: JudgeSummary, store: Path) -> None:
    click.echo(f"judge      {summary.judge}")
    click.echo(f"pairs      {summary.pairs:,}")
    if summary.made == 0 and not summary.failed:
        click.echo(f"judgments  nothing new: {store} has all {summary.reused:,}")
    else:
        click.echo(f"judgments  {summary.made:,} new, {summary.reused:,} already in {store}")
    if summary.invalid:
        click.echo(f"invalid    {summary.invalid:,} of the new ones name no winner")
    if summary.failed:
        click.echo(f"failed     {summary.failed:,} were not answered; run the same command again")
    click.echo(f"seconds    {summary.seconds:.1f}")


def _print_asked(summary: AskingSummary, store: JudgmentStore) -> None:
    tally, path = summary.tally, store.path
    what = "readings" if summary.mode == "exact" else "judgments"
    click.echo(f"judge      {summary.judge}")
    click.echo(f"mode       {summary.mode}")
    click.echo(f"pairs      {summary.pairs:,}")
    if tally.made == 0 and not (tally.failed or tally.too_long or tally.refused or summary.stopped):
        click.echo(f"{what:<10} nothing new: {path} has all {tally.reused:,}")
    else:
        click.echo(f"{what:<10} {tally.made:,} new, {tally.reused:,} already in {path}")
    if tally.made:
        click.echo(f"invalid    {tally.invalid_share:.1%} of the new ones name no winner")
    if tally.cut:
        short = f", {tally.cut_short:,} of them before they named a winner; give more with --max-tokens"
        most = store.settings(summary.judge)["config"]["max_tokens"]
        ends = f"replies ended at {most:,} tokens or before their end{short if tally.cut_short else ''}"
        click.echo(f"cut        {tally.cut:,} {ends}")
    _print_bias(summary, store)
    if tally.unforced:
        click.echo(
            f"unforced   {tally.unforced:,} of the new readings: the model would not surely begin with 'Choice:'"
            + (f"; {tally.beside:,} replies were sampled beside them" if tally.beside else "")
        )
    if tally.too_long:
        more = ", …" if tally.too_long > len(tally.too_long_pairs) else ""
        click.echo(
            f"too long   {tally.too_long:,} prompts, which were not cut: {', '.join(tally.too_long_pairs)}{more}"
        )
    if tally.refused:
        earlier = tally.refused - tally.refused_new
        again = f", {earlier:,} of them in an earlier run (--ask-refused asks again)" if earlier else ""
        click.echo(f"refused    {tally.refused:,} by the server{again}: {', '.join(tally.refused_pairs)}")
    if tally.elsewhere:
        click.echo(f"elsewhere  {tally.elsewhere:,} requests were left to another run; run this again to be sure")
    if tally.failed:
        click.echo(
            f"failed     {tally.failed:,} were not answered, the last one because: {tally.failed_because}; "
            "run the same command again"
        )
    if tally.attempts:
        tokens = f"{tally.prompt_tokens:,} + {tally.completion_tokens:,} tokens"
        click.echo(f"requests   {tally.attempts:,}, {tally.retries:,} of them failed and were repeated; {tokens}")
    if summary.cost:
        click.echo(f"cost       ${summary.cost:,.4f} of this judge in this store so far")
    click.echo(f"seconds    {summary.seconds:.1f}")
    if summary.stopped:
        click.echo(f"stopped    {summary.stopped}; everything that was answered is kept")


def _print_bias(summary: AskingSummary, store: JudgmentStore) -> None:
    from dissensus.judge.position_bias import position_bias

    config = store.settings(summary.judge)["config"]
    options = {key: config[key] for key in ("temperature", "top_p")} if summary.mode == "exact" else {}
    bias = position_bias(store, summary.judge, **options)
    if bias.first is None:
        return
    flips = f"; {bias.flip_share:.1%} of {bias.compared:,} verdicts flip on a swap" if bias.compared else ""
    click.echo(f"position   first shown wins {bias.first:.1%}{flips}")
