DROP INDEX rollouts_unsealed;
ALTER TABLE rollouts DROP COLUMN sealed_overrides;
