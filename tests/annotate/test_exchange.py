"""What people said goes out and comes back whole, in the pair's own terms."""

import csv
import json
import random
import statistics
from dataclasses import replace

import pytest

from dissensus.annotate.analysis.combine_answers import Rules, aggregate, aggregate_estimates
from dissensus.annotate.exchange.export import annotated_pairs, export, read_annotated
from dissensus.annotate.exchange.imports import import_export
from dissensus.annotate.project import verify
from dissensus.annotate.project.sides import Said, Shown
from dissensus.annotate.project.store import AnnotationStore
from dissensus.errors import InputError, OutputError
from dissensus.files import read_pairs
from dissensus.records import Pair, Votes

from ..report.payloads import PAYLOADS
from .people import annotations, fill, make_pairs, said

HOSTILE = ["=1+1", "+x", "-x", "@SUM(A1)", "'=1", "''", "'", "\ttab", 'a,b\n"c"', *PAYLOADS[:5], "é—✓", "x" * 3000]


def _rich(open_project, database=None):
    """A project in which everything happened: undone, skipped, too late, decided, revoked, drafted, hostile."""
    pairs = make_pairs(12)
    pairs += [
        Pair(id=f"h{n}", prompt=text, response_a=f"A {text}", response_b=f"{text} B", group=text, votes=Votes(a=n, b=1))
        for n, text in enumerate(HOSTILE)
        if text.strip()
    ]
    project = open_project(database, pairs=pairs, practice=True, own_choice=True, name=HOSTILE[0], guide=HOSTILE[8])
    fill(project, seed=3, share=0.8)
    _twists(project)
    return project


def _twists(project):
    from dissensus.annotate.project import access, answers

    draw = random.Random(4)
    project.add("Mei")
    [late] = project.lease("Mei", want=1).tasks
    for base, kind in enumerate(("answer", "withdraw", "answer")):
        answer = said(9, note="'=x", choice="a") if kind == "answer" else None
        project.submit("Mei", late.key, answer, base=base, kind=kind)
    project.add("Judith", "adjudicator")
    keys = [row.key for row in project.sql("SELECT key FROM items WHERE practice = false LIMIT 4")]
    for key in keys:
        project.decide("Judith", key, Said(correct="single", estimate=draw.randint(0, 10), note=draw.choice(HOSTILE)))
    project.decide("Judith", keys[0], Said(distinct="no"), base=1)
    [held] = project.sql("SELECT key, revision, person_id FROM assignments LIMIT 1")
    shown = Shown(note="…")
    project.write(lambda c: answers.save_draft(c, held.person_id, held.key, shown, held.revision, project.now))
    project.write(lambda c: access.revoke(c, project.people["Kofi"], project.now))


@pytest.fixture(scope="module")
def rich(open_shared):
    return _rich(open_shared)


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "parquet", "csv"])
def test_export_import_export_is_the_same_to_the_byte(form, rich, tmp_path):
    first, second = tmp_path / f"first.{form}", tmp_path / f"second.{form}"
    done = export(rich.store, first)
    import_export(first, tmp_path / "copy.db")
    with AnnotationStore(tmp_path / "copy.db") as copy:
        assert verify.check(copy) == []
        assert export(copy, second) == replace(done, out=second)
        assert (copy.config, copy.seed) == (rich.config, rich.store.seed)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.xdist_group("postgresql")
def test_it_is_the_same_across_databases(postgres_server, open_project, tmp_path):
    project = _rich(open_project, postgres_server())
    files = [tmp_path / f"{n}.jsonl" for n in range(3)]
    export(project.store, files[0])
    import_export(files[0], tmp_path / "copy.db")
    with AnnotationStore(tmp_path / "copy.db") as copy:
        export(copy, files[1])
    url = postgres_server()
    import_export(files[1], url, secret=tmp_path / "secret")
    with AnnotationStore(url, secret=tmp_path / "secret") as back:
        assert verify.check(back) == []
        export(back, files[2])
        from dissensus.annotate.project import access

        assert back.write(lambda c: access.add_person(c, "Somebody new", "annotator", 1)).id > len(project.people)
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()


def test_work_goes_on_in_the_copy_where_it_stood(open_project, tmp_path):
    project = open_project(pairs=30)
    for task in project.lease("Ada", want=8).tasks[:5]:
        project.answer("Ada", task.key)
    export(project.store, tmp_path / "a.jsonl")
    import_export(tmp_path / "a.jsonl", tmp_path / "copy.db")
    with AnnotationStore(tmp_path / "copy.db") as copy:
        original, again = (replace(project, store=store).lease("Ada", want=25) for store in (project.store, copy))
    # The keys of new ones are random; which pairs, on which side, in which order is not.
    for one, other in zip(again.tasks, original.tasks, strict=True):
        assert (one.item_id, one.shown, one.number) == (other.item_id, other.shown, other.number)


def test_no_token_and_no_hash_leaves_and_any_verb_reads_an_export(rich, tmp_path):
    link = rich.invite("Ada")
    export(rich.store, tmp_path / "a.jsonl")
    text = (tmp_path / "a.jsonl").read_text()
    for secret in (link, rich.store.hash_token(link).hex(), rich.secret.read_bytes().hex()):
        assert secret not in text
    read = {pair.id: pair for pair in read_pairs(tmp_path / "a.jsonl", notice=lambda _: None)}
    for each in rich.read(annotated_pairs):
        assert read[each.pair.id] == each.pair


def test_cells_that_spreadsheets_would_run_are_escaped(rich, tmp_path):
    export(rich.store, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert any(row["escaped_cells"] for row in rows)
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    read = [pair.prompt for pair in read_pairs(tmp_path / "a.csv", notice=lambda _: None)]
    assert read[-len(HOSTILE) :] == HOSTILE


def test_preferences_are_means_and_categories_majorities(open_project):
    project = open_project(pairs=4, own_choice=True)
    told = {"Ada": (9, "multiple", "yes"), "Grace": (6, "multiple", "no"), "Kofi": (0, "single", "no")}
    for name, (estimate, correct, distinct) in told.items():
        while tasks := project.lease(name, want=4).tasks:
            for task in tasks:
                project.submit(name, task.key, said(estimate, correct, distinct, choice="b"))
    for pair in read_annotated(project.store):
        assert (pair.category, pair.distinct) == ("multiple", "no")
        assert pair.votes.preference == pytest.approx(0.5)
        assert pair.votes.ratings == (0.9, 0.6, 0.0)
        assert (pair.votes.a, pair.votes.b) == (0, 3)  # what they prefer themselves
    medians = read_annotated(project.store, Rules(estimates="median"))
    assert {pair.votes.preference for pair in medians} == {0.6}


def test_aggregates_by_hand():
    answers = [
        Said(correct=c, distinct=d, estimate=e)
        for c, d, e in [("single", "yes", 2), ("multiple", "yes", 4), ("single", "yes", 9)]
    ]
    found = aggregate(answers, None, Rules())
    assert (found.category, found.distinct, found.preference, found.tied) == ("single", "yes", 0.5, 0)
    assert aggregate(answers, None, Rules(categories="unanimous")).category is None
    assert aggregate_estimates([2, 4, 9], "median") == 0.4
    assert aggregate_estimates([0, 4, 10], "trimmed") == 0.4
    decided = aggregate(answers, Said(correct="multiple"), Rules())
    assert (decided.category, decided.preference) == ("multiple", 0.5)
    assert aggregate(answers, Said(estimate=10), Rules(decisions=False)).preference == 0.5
    assert aggregate(answers[:2], None, Rules()).tied == 1


def test_aggregates_do_not_hang_on_the_order_of_people():
    draw = random.Random(0)
    for _ in range(50):
        answers = [
            Said(
                correct=draw.choice(["single", "multiple"]),
                distinct=draw.choice(["yes", "no"]),
                estimate=draw.randint(0, 10),
            )
            for _ in range(draw.randint(1, 6))
        ]
        shuffled = draw.sample(answers, len(answers))
        for rules in (Rules(), Rules(categories="unanimous", estimates="median"), Rules(estimates="trimmed")):
            assert aggregate(answers, None, rules) == aggregate(shuffled, None, rules)
        mean = statistics.fmean(a.estimate for a in answers) / 10
        assert aggregate_estimates([a.estimate for a in answers]) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda rows: rows[0].pop("annotation"), "annotation is null"),
        (lambda rows: rows[2]["annotation"].pop("assignments"), r"b.jsonl:3: annotation: assignments is missing"),
        (lambda rows: rows[0]["annotation"].pop("project"), "no row has the project"),
        (lambda rows: rows[1].update(prompt=""), "prompt is empty"),
        (lambda rows: rows[0]["annotation"]["project"].update(config={"annotators": -1}), r"b.jsonl:1: .*annotators"),
        (lambda rows: rows[1]["annotation"].pop("key"), r"b.jsonl:2: annotation: key is missing"),
        (
            lambda rows: rows[1]["annotation"].update(key="x"),
            r"b.jsonl:2: annotation: key is text \('x'\); expected text that matches \^\[0-9a-f\]\{16\}\$; export",
        ),
        (
            lambda rows: rows[0]["annotation"]["project"]["config"].update(name="x" * 201),
            "config.name is text .*; expected text of 200 characters or fewer; export",
        ),
        (
            lambda rows: rows[1]["annotation"]["assignments"][0].update(annotator="Zed"),
            "b.jsonl:2: 'Zed' is none of the project",
        ),
        (lambda rows: rows[1]["annotation"]["assignments"][0].update(shown="xy"), "annotation: assignments.0.shown"),
        (lambda rows: rows.append(rows[1]), "two rows are of one item"),
    ],
)
def test_a_damaged_export_is_refused_with_its_place_and_makes_no_project(harm, told, open_project, tmp_path):
    project = open_project(pairs=4)
    fill(project)
    export(project.store, tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    harm(rows)
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=told):
        import_export(tmp_path / "b.jsonl", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_what_cannot_be_exported_says_why(open_project, tmp_path):
    project = open_project(pairs=2)
    with pytest.raises(OutputError, match="unknown extension"):
        export(project.store, tmp_path / "a.xlsx")
    with pytest.raises(InputError, match="nobody has answered anything yet"):
        read_annotated(project.store)
    with pytest.raises(InputError, match="no pairs to export"):
        export(open_project(pairs=0).store, tmp_path / "a.jsonl")


def test_the_command_line_does_it_all(open_project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = open_project(pairs=12)
    fill(project, share=1)
    db, secret = project.database, ("--secret-file", project.secret)
    assert "12 pairs, 36 answers, 12 pairs with all 3" in annotations("export", db, "--out", "a.jsonl").stdout
    assert "12 pairs, 36 answers of 3 people" in annotations("import", "a.jsonl", "--db", "copy.db").stdout
    assert annotations("verify", db).stdout.strip().endswith(": ok: 12 pairs verified")
    assert "correct   raw" in annotations("agreement", db).stdout
    link = annotations("invite", db, "Nora", *secret, "--origin", "https://lab.example/").stdout
    assert link.startswith("https://lab.example/join#")
    assert "Nora" in annotations("people", db).stdout
    assert "access revoked" in annotations("revoke", db, "Nora").stdout
    with project.store.engine.connect() as c:
        c.exec_driver_sql("UPDATE items SET taken = 9")
        c.exec_driver_sql("COMMIT")
        c.exec_driver_sql("BEGIN")
    for arguments, told in (
        (("import", "a.jsonl", "--db", "copy.db"), "copy.db"),  # which is there now
        (("invite", db, "Nora", "--role", "organiser", *secret), "is annotator already"),
        (("revoke", db, "Nobody"), "nobody called"),
        (("verify", db), "faults"),
        (("verify", open_project(pairs=0).database), "has no pairs"),
        (("people", "missing.db"), "there is no annotation project"),
    ):
        with pytest.raises(InputError, match=told):
            annotations(*arguments)
