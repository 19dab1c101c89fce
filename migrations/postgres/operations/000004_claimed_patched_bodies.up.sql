-- Bodies with the patches of a rollout were named by its operations and not marked: they filled the room for uploads for good.
UPDATE bodies SET claimed = true WHERE NOT claimed
    AND (EXISTS (SELECT 1 FROM operations o WHERE o.body_sha256 = bodies.sha256)
        OR EXISTS (SELECT 1 FROM rollouts r WHERE r.body_sha256 = bodies.sha256));
-- Rollouts that were cancelled while a process ended before it had cancelled all of their operations: looked at once more.
UPDATE rollouts SET next_at = created_at WHERE state = 'cancelled' AND next_at IS NULL
    AND EXISTS (SELECT 1 FROM operations o WHERE o.rollout_id = rollouts.id AND o.finished_at IS NULL);
