BEGIN TRANSACTION;
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (id),
    judge TEXT NOT NULL,
    pair_id TEXT NOT NULL,
    ask BLOB NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    estimated INTEGER NOT NULL DEFAULT 0,
    cost REAL NOT NULL DEFAULT 0,
    seconds REAL
);
CREATE TABLE judges (
    name TEXT PRIMARY KEY,
    settings TEXT NOT NULL
, checksum INTEGER) WITHOUT ROWID;
INSERT INTO "judges" VALUES('fake-211c6a8f','{"by_content": true, "mode": "exact", "config": {"model": "fake", "revision": null, "template": "paper", "personas": [], "deal": "cells", "order": "both", "mode": "exact", "n": 4, "temperature": 1.0, "top_p": 0.9, "max_tokens": 16, "seed": 0}, "identity": {"model": "fake"}, "template": {"name": "paper", "text": "I am going to give you a prompt and two answers.\nThe goal is to identify the better answer.\nIf the prompt is a question, we want the factually correct answer.\nIn a conversation, we want helpful replies that do not cause harm.\nThe output format should be either ''Choice: A'' or ''Choice: B'' based on the selected answer and nothing else.\n\nPrompt: {prompt}\n\nAnswer A: {answer_0}\n\nAnswer B: {answer_1}"}, "names_personas": true}',4204585614);
INSERT INTO "judges" VALUES('fake-b1380ff8','{"by_content": true, "mode": "sample", "config": {"model": "fake", "revision": null, "template": "paper", "personas": [], "deal": "cells", "order": "both", "mode": "sample", "n": 4, "temperature": 1.0, "top_p": 0.9, "max_tokens": 16, "seed": 0}, "identity": {"model": "fake"}, "template": {"name": "paper", "text": "I am going to give you a prompt and two answers.\nThe goal is to identify the better answer.\nIf the prompt is a question, we want the factually correct answer.\nIn a conversation, we want helpful replies that do not cause harm.\nThe output format should be either ''Choice: A'' or ''Choice: B'' based on the selected answer and nothing else.\n\nPrompt: {prompt}\n\nAnswer A: {answer_0}\n\nAnswer B: {answer_1}"}, "names_personas": true, "beside": "fake-211c6a8f"}',4157649225);
CREATE TABLE judgments (
    key BLOB PRIMARY KEY,
    judge TEXT NOT NULL,
    pair_id TEXT NOT NULL,
    content TEXT NOT NULL,
    sample INTEGER NOT NULL,
    shown TEXT NOT NULL,
    choice TEXT,
    probability_a REAL,
    reply TEXT NOT NULL
, persona TEXT NOT NULL DEFAULT '', checksum INTEGER) WITHOUT ROWID;
INSERT INTO "judgments" VALUES(X'1A8E9152EFDDA1AEACF1143D0C2C0928','fake-b1380ff8','p3','fe410def7032d40e',1,'ab','a',NULL,'Choice: A','',1813135711);
INSERT INTO "judgments" VALUES(X'2918CBC5D9238B06AABB7F774A66A496','fake-b1380ff8','p3','fe410def7032d40e',2,'ba','b',NULL,'Choice: A','',462197679);
INSERT INTO "judgments" VALUES(X'31F63EA084D4F7EF32EDFD8E6126E92C','fake-b1380ff8','p3','fe410def7032d40e',3,'ab',NULL,NULL,'both','',334467154);
INSERT INTO "judgments" VALUES(X'3E88E1D63761191E5EA5FC33118FAB3E','fake-b1380ff8','p3','fe410def7032d40e',0,'ba',NULL,NULL,'both','',334467154);
CREATE TABLE readings (
    key BLOB PRIMARY KEY,
    judge TEXT NOT NULL,
    pair_id TEXT NOT NULL,
    content TEXT NOT NULL,
    shown TEXT NOT NULL,
    persona TEXT NOT NULL,
    reading BLOB NOT NULL
, checksum INTEGER) WITHOUT ROWID;
INSERT INTO "readings" VALUES(X'009869F4199EEDD825699D88B6D3950A','fake-211c6a8f','p4','25981c331ba1afa5','ba','',X'01010200000002000000020000000000803F00000000199EB6BEC81B9ABF4142',2505720616);
INSERT INTO "readings" VALUES(X'1EEFB043452B26F86FDDE4A434D224B5','fake-211c6a8f','p1','5ddc32f08fa292e2','ba','',X'01010200000002000000020000000000803F00000000199EB6BEC81B9ABF4142',2019725335);
INSERT INTO "readings" VALUES(X'21A14EA7EB38E9AE4320B9A201C21172','fake-211c6a8f','p0','6d68b197630f14f3','ab','',X'01010200000002000000020000000000803F00000000199EB6BEC81B9ABF4142',1318060260);
INSERT INTO "readings" VALUES(X'262815D33B6C0250FC39477FD0D4CCAB','fake-211c6a8f','p1','5ddc32f08fa292e2','ab','',X'01010200000002000000020000000000803F00000000199EB6BEC81B9ABF4142',2019725335);
INSERT INTO "readings" VALUES(X'301F4E9F562430FC4E1BCBDDCA15FA0E','fake-211c6a8f','p3','fe410def7032d40e','ba','',X'01010200000002000000020000000000003F00000000199EB6BEC81B9ABF4142',1232755717);
INSERT INTO "readings" VALUES(X'5093A61A6026F4B47187FEC3058008B6','fake-211c6a8f','p2','fe6ddb34131eae09','ba','',X'01010200000002000000020000000000803F00000000199EB6BEC81B9ABF4142',594878722);
INSERT INTO "readings" VALUES(X'7F09C4B91BC6ADDF9F5AE42808F7DB55','fake-211c6a8f','p2','fe6ddb34131eae09','ab','',X'01010200000002000000020000000000803F00000000199EB6BEC81B9ABF4142',594878722);
INSERT INTO "readings" VALUES(X'BA17FED76781345A22804D1B3DF2214D','fake-211c6a8f','p3','fe410def7032d40e','ab','',X'01010200000002000000020000000000003F00000000199EB6BEC81B9ABF4142',1232755717);
INSERT INTO "readings" VALUES(X'C2B4546310089525AEA9579D0D20ACE2','fake-211c6a8f','p0','6d68b197630f14f3','ba','',X'01010200000002000000020000000000803F00000000199EB6BEC81B9ABF4142',1318060260);
INSERT INTO "readings" VALUES(X'C3A6515BDA7C5665498BC4670474732A','fake-211c6a8f','p4','25981c331ba1afa5','ab','',X'01010200000002000000020000000000803F00000000199EB6BEC81B9ABF4142',2505720616);
INSERT INTO "readings" VALUES(X'DF18CC2A36787DC0D53153A09CEB4755','fake-211c6a8f','p5','f9c26c32a5729d6c','ab','',X'01010200000002000000020000000000803F00000000199EB6BEC81B9ABF4142',2745750491);
INSERT INTO "readings" VALUES(X'EAF73A5DC989D68276E4DC3F3AF11D1B','fake-211c6a8f','p5','f9c26c32a5729d6c','ba','',X'01010200000002000000020000000000803F00000000199EB6BEC81B9ABF4142',2745750491);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    judge TEXT NOT NULL,
    host TEXT NOT NULL,
    process TEXT NOT NULL,
    started TEXT NOT NULL,
    ended TEXT
);
CREATE INDEX judgments_by_pair ON judgments (judge, pair_id, sample, shown);
CREATE INDEX readings_by_pair ON readings (judge, pair_id, content, persona, shown);
CREATE INDEX attempts_in_flight ON attempts (ask) WHERE state = 'sent';
CREATE INDEX attempts_by_judge ON attempts (judge, state);
COMMIT;
