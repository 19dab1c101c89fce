-- What ended longest ago is looked for every minute, with whether its webhook was told, and rollouts of which nothing is looked at
-- any more.
CREATE INDEX operations_finished ON operations (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX webhooks_operation ON webhooks (operation_id);
CREATE INDEX rollouts_idle ON rollouts (created_at) WHERE next_at IS NULL;
