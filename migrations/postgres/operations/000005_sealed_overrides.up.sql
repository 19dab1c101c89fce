-- What the patches of a plan say, sealed. Plans of before have it in their documents until it is sealed: the index finds them.
ALTER TABLE rollouts ADD COLUMN sealed_overrides text;
CREATE INDEX rollouts_unsealed ON rollouts (seq) WHERE (doc #> '{plan,overrides,0,patch}') IS NOT NULL;
