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

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 1

metadata = MetaData()

project = Table(
    "project",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("schema_version", Integer, nullable=False),
    Column("config", Text, nullable=False),  # AnnotationConfig as JSON
    Column("seed", Text, nullable=False),  # 32 hex digits; shuffles of items and first sides
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_project"),
)

items = Table(
    "items",
    metadata,
    Column("id", Integer, primary_key=True),  # ascending: the order of the file
    Column("key", Text, nullable=False, unique=True),  # 16 random hex digits: the name in adjudication's addresses
    Column("pair_id", Text, nullable=False, unique=True),
    Column("pair", Text, nullable=False),  # the Pair as JSON, as it was read
    Column("practice", Boolean, nullable=False),
    Column("known", Text),  # practice only: KnownAnswer as JSON
    Column("taken", Integer, nullable=False, default=0),
    # How many of the k slots are leased or answered; slots.py alone changes it.
    CheckConstraint("taken >= 0", name="taken_is_a_count"),
)
Index("items_with_places", items.c.practice, items.c.taken)  # whose slots are free

people = Table(
    "people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger),  # when they last asked for work or gave some
    Column("revoked_at", BigInteger),
    CheckConstraint("role in ('annotator', 'adjudicator', 'organiser')", name="known_role"),
)

invites = Table(
    "invites",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True),
    Column("person_id", ForeignKey("people.id"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("person_id", ForeignKey("people.id"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

assignments = Table(
    "assignments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),  # 16 random hex digits: all that an annotator learns of an item
    Column("item_id", ForeignKey("items.id"), nullable=False),
    Column("person_id", ForeignKey("people.id"), nullable=False),
    Column("number", Integer, nullable=False),  # 1, 2, … in the person's own order
    Column("shown", Text, nullable=False),  # 'ab': response_a on the left
    Column("state", Text, nullable=False),
    # leased: theirs until leased_until; answered: counts as one of k; skipped; released: the lease ran out;
    # surplus: answered after the lease ran out and the slot was gone, kept but not counted.
    Column("leased_until", BigInteger),  # set while leased
    Column("revision", Integer, nullable=False, default=0),  # of the newest row in revisions; 0: nothing said yet
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("item_id", "person_id", name="once_per_person"),
    UniqueConstraint("person_id", "number", name="numbered"),
    CheckConstraint("shown in ('ab', 'ba')", name="known_side"),
    CheckConstraint("state in ('leased', 'answered', 'skipped', 'released', 'surplus')", name="known_state"),
)
Index("assignments_by_state", assignments.c.state, assignments.c.leased_until)

revisions = Table(
    "revisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment_id", ForeignKey("assignments.id"), nullable=False),
    Column("revision", Integer, nullable=False),  # 1, 2, … per assignment
    Column("idempotency_key", Text, nullable=False),  # chosen by the client, one per act of saving
    Column("digest", LargeBinary(32), nullable=False),  # of what came with it: a key is never used twice
    Column("kind", Text, nullable=False),
    # What was said, in the pair's own terms, never in those of the screen:
    Column("correct", Text),  # 'single' | 'multiple'
    Column("distinct_", Text, key="distinct"),  # 'yes' | 'no'
    Column("estimate", Integer),  # of 10 people, how many prefer response a
    Column("choice", Text),  # 'a' | 'b' | 'tie': the annotator's own
    Column("note", Text, nullable=False, default=""),
    Column("reason", Text, nullable=False, default=""),  # of a skip
    Column("seconds", Float),  # of active time, by the browser
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("assignment_id", "revision", name="one_row_per_revision"),
    UniqueConstraint("assignment_id", "idempotency_key", name="one_row_per_act"),
    CheckConstraint("kind in ('answer', 'skip', 'withdraw')", name="known_kind"),
    CheckConstraint("estimate is null or (estimate >= 0 and estimate <= 10)", name="eleven_steps"),
)

drafts = Table(
    "drafts",
    metadata,
    Column("assignment_id", ForeignKey("assignments.id"), primary_key=True),
    Column("base", Integer, nullable=False),  # the revision that the draft started from
    Column("body", Text, nullable=False),  # JSON, in the terms of the screen
    Column("updated_at", BigInteger, nullable=False),
)

adjudications = Table(
    "adjudications",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item_id", ForeignKey("items.id"), nullable=False),
    Column("person_id", ForeignKey("people.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("correct", Text),
    Column("distinct_", Text, key="distinct"),
    Column("estimate", Integer),
    Column("choice", Text),
    Column("note", Text, nullable=False, default=""),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("item_id", "revision", name="one_decision_per_revision"),
    UniqueConstraint("item_id", "idempotency_key", name="one_decision_per_act"),
)

served = Table(
    "served",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("origin", Text, nullable=False),  # as links name it
    Column("at", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="served_last"),
)
