-- The tables of Things 3 (databaseVersion 26), with the columns that are read: for the fake and for tests.
-- The authorization token is fake-token-1.
CREATE TABLE Meta (key TEXT PRIMARY KEY, value TEXT);
INSERT INTO Meta VALUES ('databaseVersion', '<plist version="1.0"><integer>26</integer></plist>');
CREATE TABLE TMSettings (uuid TEXT PRIMARY KEY, uriSchemeAuthenticationToken TEXT);
INSERT INTO TMSettings VALUES ('1', 'fake-token-1');
CREATE TABLE TMArea (uuid TEXT PRIMARY KEY, title TEXT, "index" INTEGER);
CREATE TABLE TMTag (uuid TEXT PRIMARY KEY, title TEXT, parent TEXT, "index" INTEGER);
CREATE TABLE TMTaskTag (tasks TEXT, tags TEXT);
CREATE TABLE TMChecklistItem (uuid TEXT PRIMARY KEY, task TEXT, title TEXT, status INTEGER);
CREATE TABLE TMTask (uuid TEXT PRIMARY KEY, type INTEGER, title TEXT, notes TEXT, status INTEGER DEFAULT 0, start INTEGER DEFAULT 0,
    startDate INTEGER, startBucket INTEGER DEFAULT 0, deadline INTEGER, deadlineSuppressionDate INTEGER, reminderTime INTEGER,
    stopDate REAL, creationDate REAL, userModificationDate REAL, area TEXT, project TEXT, heading TEXT, trashed INTEGER DEFAULT 0,
    "index" INTEGER DEFAULT 0, todayIndex INTEGER DEFAULT 0, checklistItemsCount INTEGER DEFAULT 0,
    rt1_recurrenceRule BLOB, rt1_repeatingTemplate TEXT);
