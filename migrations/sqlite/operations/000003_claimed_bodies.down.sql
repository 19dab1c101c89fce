DROP INDEX bodies_unclaimed;
ALTER TABLE bodies DROP COLUMN claimed;
