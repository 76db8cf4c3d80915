-- The special table: a few small records that can't be made again, such as the
-- sealed unseal key.
CREATE TABLE @schema@.records (
    name text COLLATE "C" NOT NULL PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    -- Random, new with each change.
    revision uuid NOT NULL,
    -- SHA-256 over the name, a zero byte, the 16 bytes of the revision, and the data:
    -- a row that was changed or moved by hand is not taken for a record.
    sum bytea NOT NULL CHECK (octet_length(sum) = 32),
    data bytea NOT NULL CHECK (octet_length(data) BETWEEN 1 AND 65536),
    -- For people.
    updated timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE @schema@.records ALTER COLUMN data SET STORAGE EXTERNAL;
