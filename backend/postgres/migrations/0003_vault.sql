-- The tables that Vault's PostgreSQL storage works with. It does not make
-- them itself, and knows them by name only: Vault is told the schema by the
-- search_path of its connections. Nothing here reads their values, which are
-- encrypted by Vault.
CREATE TABLE @schema@.vault_kv_store (
    parent_path text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    value bytea,
    CONSTRAINT vault_kv_store_pkey PRIMARY KEY (path, key)
);

CREATE INDEX vault_kv_store_parent_path ON @schema@.vault_kv_store (parent_path);

CREATE TABLE @schema@.vault_ha_locks (
    ha_key text COLLATE "C" NOT NULL,
    ha_identity text COLLATE "C" NOT NULL,
    ha_value text COLLATE "C",
    valid_until timestamptz NOT NULL,
    CONSTRAINT vault_ha_locks_pkey PRIMARY KEY (ha_key)
);
