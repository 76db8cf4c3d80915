-- One row for each object. A small body is in the row; a large one is in chunks,
-- and body is null.
CREATE TABLE @schema@.objects (
    -- The escaped form of the name, which is ASCII. "C" is bytewise order.
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    -- The content version: random, new with each put and copy.
    version uuid NOT NULL,
    size bigint NOT NULL CHECK (size >= 0),
    header bytea NOT NULL CHECK (octet_length(header) <= 1024),
    body bytea,
    -- Length of every chunk but the last; null if the body is in the row.
    chunk_size integer CHECK (chunk_size > 0),
    -- The version of the transit key under which the object's data key is
    -- wrapped, if the header is one of the envelope's version 1; else null. For
    -- queries only: SELECT key_version, count(*) FROM objects GROUP BY 1.
    key_version integer GENERATED ALWAYS AS (
        CASE
            WHEN octet_length(header) < 98 THEN NULL
            -- "atrest", format version 1, suite 1
            WHEN substring(header FROM 1 FOR 8) <> '\x6174726573740101'::bytea THEN NULL
            -- Bytes 60 and 61 are the length of the sealed metadata; 94 bytes and
            -- that length on stand the 4 bytes of the key version.
            WHEN octet_length(header) < 98 + (get_byte(header, 60) << 8) + get_byte(header, 61) THEN NULL
            -- The greatest version is 2^31-1.
            WHEN get_byte(header, 94 + (get_byte(header, 60) << 8) + get_byte(header, 61)) > 127 THEN NULL
            ELSE nullif(
                  (get_byte(header, 94 + (get_byte(header, 60) << 8) + get_byte(header, 61)) << 24)
                + (get_byte(header, 95 + (get_byte(header, 60) << 8) + get_byte(header, 61)) << 16)
                + (get_byte(header, 96 + (get_byte(header, 60) << 8) + get_byte(header, 61)) << 8)
                +  get_byte(header, 97 + (get_byte(header, 60) << 8) + get_byte(header, 61)), 0)
        END) STORED,
    CHECK ((body IS NULL) = (chunk_size IS NOT NULL)),
    CHECK (octet_length(body) = size)
);

-- Ciphertext does not compress, and what is not compressed can be read in part.
ALTER TABLE @schema@.objects ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE @schema@.objects ALTER COLUMN header SET STORAGE PLAIN;

-- The large bodies: chunk seq of a content version holds chunk_size bytes from
-- byte seq * chunk_size on. Rows are never changed.
CREATE TABLE @schema@.chunks (
    version uuid NOT NULL,
    seq integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (version, seq)
);

ALTER TABLE @schema@.chunks ALTER COLUMN data SET STORAGE EXTERNAL;

-- The chunks of a content go with it, in the same transaction. A trigger sees the
-- very row that is replaced or deleted, also where that is not the one that the
-- statement's snapshot had, because another transaction came first.
CREATE FUNCTION @schema@.remove_chunks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM @schema@.chunks WHERE version = OLD.version;
    RETURN NULL;
END
$$;

CREATE TRIGGER replaced AFTER UPDATE OF version ON @schema@.objects
    FOR EACH ROW WHEN (OLD.chunk_size IS NOT NULL AND OLD.version <> NEW.version)
    EXECUTE FUNCTION @schema@.remove_chunks();

CREATE TRIGGER deleted AFTER DELETE ON @schema@.objects
    FOR EACH ROW WHEN (OLD.chunk_size IS NOT NULL)
    EXECUTE FUNCTION @schema@.remove_chunks();
