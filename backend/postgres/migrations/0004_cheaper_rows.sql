-- PostgreSQL parses the expression of a generated column, and of each check, anew
-- whenever a statement begins that writes a row. For a small one that was more
-- than half of the time.

-- What waits for the lock on the table holds up everybody who comes after. So where
-- somebody has the table for longer, who makes a copy of the database for one, this fails
-- soon, and may be run again. It is more than a second because that is
-- deadlock_timeout, the time after which an autovacuum of the table is told to give way.
SET LOCAL lock_timeout = '1500ms';

-- From now on key_version is told by whoever writes a header. The values
-- that are there stay, and no row is written.
ALTER TABLE @schema@.objects ALTER COLUMN key_version DROP EXPRESSION;

-- One check instead of five, which also ends as soon as it knows. The names of the old
-- ones are those that PostgreSQL gave them. It is NOT VALID, which is to say
-- that the rows that are there are not looked at, because they have passed the
-- old ones, and a look at all of them would lock a large table for long.
-- A check that comes to null is passed, so where there may be a null it is asked for.
ALTER TABLE @schema@.objects
    DROP CONSTRAINT IF EXISTS objects_size_check,
    DROP CONSTRAINT IF EXISTS objects_header_check,
    DROP CONSTRAINT IF EXISTS objects_chunk_size_check,
    DROP CONSTRAINT IF EXISTS objects_check,
    DROP CONSTRAINT IF EXISTS objects_check1,
    ADD CONSTRAINT objects_row CHECK (
        size >= 0 AND octet_length(header) <= 1024
        AND CASE
            WHEN body IS NULL THEN chunk_size IS NOT NULL AND chunk_size > 0
            ELSE chunk_size IS NULL AND octet_length(body) = size
        END) NOT VALID;
