-- Where other processes of the mesh reach a replica; a replica of the version before has none and is reached over its queue only.
ALTER TABLE replicas ADD COLUMN address TEXT;
