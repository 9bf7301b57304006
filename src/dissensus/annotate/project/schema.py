"""The tables of an annotation project. Times are whole milliseconds since 1970, UTC.

::

    project        one row: the settings, the seed of shuffles
    items          pairs, in the order of the file; practice pairs with their known answers
    people         who may do what
    invites        one-use links, hashed
    sessions       who is signed in, hashed
    assignments    which person was given which item, how it was shown, until when it is theirs
    revisions      what was said, only ever added to; the assignment points at the newest
    drafts         what is being written
    adjudications  what an adjudicator decided about an item, only ever added to
    served         one row: where the app was started last; missing in projects that older versions made
"""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA_VERSION = 1

metadata = sa.MetaData()

project = sa.Table(
    "project",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("config", sa.Text, nullable=False),  # AnnotationConfig as JSON
    sa.Column("seed", sa.Text, nullable=False),  # 32 hex digits; shuffles of items and first sides
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.CheckConstraint("id = 1", name="one_project"),
)

items = sa.Table(
    "items",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),  # ascending: the order of the file
    sa.Column("key", sa.Text, nullable=False, unique=True),  # 16 random hex digits: in adjudication's addresses
    sa.Column("pair_id", sa.Text, nullable=False, unique=True),
    sa.Column("pair", sa.Text, nullable=False),  # the Pair as JSON, as it was read
    sa.Column("practice", sa.Boolean, nullable=False),
    sa.Column("known", sa.Text),  # practice only: KnownAnswer as JSON
    sa.Column("taken", sa.Integer, nullable=False, default=0),
    # How many of the k slots are leased or answered; slots.py alone changes it.
    sa.CheckConstraint("taken >= 0", name="taken_is_a_count"),
)
sa.Index("items_with_places", items.c.practice, items.c.taken)  # whose slots are free

people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.BigInteger),  # when they last asked for work or gave some
    sa.Column("revoked_at", sa.BigInteger),
    sa.CheckConstraint("role in ('annotator', 'adjudicator', 'organiser')", name="known_role"),
)

invites = sa.Table(
    "invites",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("token_hash", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("person_id", sa.ForeignKey("people.id"), nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_hash", sa.LargeBinary(32), primary_key=True),
    sa.Column("person_id", sa.ForeignKey("people.id"), nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)

assignments = sa.Table(
    "assignments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),  # 16 random hex digits: all that annotators learn of items
    sa.Column("item_id", sa.ForeignKey("items.id"), nullable=False),
    sa.Column("person_id", sa.ForeignKey("people.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # 1, 2, … in the person's own order
    sa.Column("shown", sa.Text, nullable=False),  # 'ab': response_a on the left
    sa.Column("state", sa.Text, nullable=False),
    # leased: theirs until leased_until; answered: counts as one of k; skipped; released: the lease ran out;
    # surplus: answered after the lease ran out and the slot was gone, kept but not counted.
    sa.Column("leased_until", sa.BigInteger),  # set while leased
    sa.Column("revision", sa.Integer, nullable=False, default=0),  # of the newest row in revisions; 0: nothing said yet
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("item_id", "person_id", name="once_per_person"),
    sa.UniqueConstraint("person_id", "number", name="numbered"),
    sa.CheckConstraint("shown in ('ab', 'ba')", name="known_side"),
    sa.CheckConstraint("state in ('leased', 'answered', 'skipped', 'released', 'surplus')", name="known_state"),
)
sa.Index("assignments_by_state", assignments.c.state, assignments.c.leased_until)

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("assignment_id", sa.ForeignKey("assignments.id"), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),  # 1, 2, … per assignment
    sa.Column("idempotency_key", sa.Text, nullable=False),  # chosen by the client, one per act of saving
    sa.Column("digest", sa.LargeBinary(32), nullable=False),  # of what came with it: a key is never used twice
    sa.Column("kind", sa.Text, nullable=False),
    # What was said, in the pair's own terms, never in those of the screen:
    sa.Column("correct", sa.Text),  # 'single' | 'multiple'
    sa.Column("distinct_", sa.Text, key="distinct"),  # 'yes' | 'no'
    sa.Column("estimate", sa.Integer),  # of 10 people, how many prefer response a
    sa.Column("choice", sa.Text),  # 'a' | 'b' | 'tie': the annotator's own
    sa.Column("note", sa.Text, nullable=False, default=""),
    sa.Column("reason", sa.Text, nullable=False, default=""),  # of a skip
    sa.Column("seconds", sa.Float),  # of active time, by the browser
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("assignment_id", "revision", name="one_row_per_revision"),
    sa.UniqueConstraint("assignment_id", "idempotency_key", name="one_row_per_act"),
    sa.CheckConstraint("kind in ('answer', 'skip', 'withdraw')", name="known_kind"),
    sa.CheckConstraint("estimate is null or (estimate >= 0 and estimate <= 10)", name="eleven_steps"),
)

drafts = sa.Table(
    "drafts",
    metadata,
    sa.Column("assignment_id", sa.ForeignKey("assignments.id"), primary_key=True),
    sa.Column("base", sa.Integer, nullable=False),  # the revision that the draft started from
    sa.Column("body", sa.Text, nullable=False),  # JSON, in the terms of the screen
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

adjudications = sa.Table(
    "adjudications",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("item_id", sa.ForeignKey("items.id"), nullable=False),
    sa.Column("person_id", sa.ForeignKey("people.id"), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("correct", sa.Text),
    sa.Column("distinct_", sa.Text, key="distinct"),
    sa.Column("estimate", sa.Integer),
    sa.Column("choice", sa.Text),
    sa.Column("note", sa.Text, nullable=False, default=""),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("item_id", "revision", name="one_decision_per_revision"),
    sa.UniqueConstraint("item_id", "idempotency_key", name="one_decision_per_act"),
)

served = sa.Table(
    "served",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),  # as links name it
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.CheckConstraint("id = 1", name="served_last"),
)
