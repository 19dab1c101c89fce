-- Whether an operation or a rollout has ever named it: what has not is counted before more is taken in, at each upload.
ALTER TABLE bodies ADD COLUMN claimed boolean NOT NULL DEFAULT false;
UPDATE bodies SET claimed = true WHERE EXISTS (SELECT 1 FROM operations o WHERE o.body_sha256 = bodies.sha256)
    OR EXISTS (SELECT 1 FROM rollouts r WHERE r.body_sha256 = bodies.sha256);
CREATE INDEX bodies_unclaimed ON bodies (length) WHERE NOT claimed;
