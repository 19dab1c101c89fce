DROP INDEX rollouts_idle;
DROP INDEX webhooks_operation;
DROP INDEX operations_finished;
