-- Aggregates that users have from Citus; PostgreSQL 16 has any_value itself.
CREATE AGGREGATE pg_catalog.jsonb_cat_agg(jsonb) (
	sfunc = pg_catalog.jsonb_concat, stype = jsonb, combinefunc = pg_catalog.jsonb_concat,
	parallel = safe);
CREATE AGGREGATE pg_catalog.array_cat_agg(anycompatiblearray) (
	sfunc = pg_catalog.array_cat, stype = anycompatiblearray, combinefunc = pg_catalog.array_cat,
	parallel = safe);
DO $$ BEGIN
	IF pg_catalog.current_setting('server_version_num')::int < 160000 THEN
		CREATE FUNCTION citus_internal.any_value_first(a anyelement, b anyelement)
			RETURNS anyelement LANGUAGE sql STRICT IMMUTABLE PARALLEL SAFE
			AS 'SELECT a';
		CREATE AGGREGATE pg_catalog.any_value(anyelement) (
			sfunc = citus_internal.any_value_first, stype = anyelement,
			combinefunc = citus_internal.any_value_first, parallel = safe);
	END IF;
END $$;
-- Of two arrays one array, of two objects one object, as jsonb's || does; what is in them keeps its
-- text. A value that is neither is an array of one.
CREATE FUNCTION citus_internal.json_inside(value json) RETURNS text
	LANGUAGE sql STRICT IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
	SELECT nullif(btrim(left(right(btrim(value::text, E' \t\r\n'), -1), -1), E' \t\r\n'), '') $$;
CREATE FUNCTION citus_internal.json_cat(a json, b json) RETURNS json
	LANGUAGE sql STRICT IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
	SELECT CASE WHEN json_typeof(a) = 'object' AND json_typeof(b) = 'object'
		THEN '{' || concat_ws(', ', citus_internal.json_inside(a),
			citus_internal.json_inside(b)) || '}'
		ELSE '[' || concat_ws(', ',
			CASE json_typeof(a) WHEN 'array' THEN citus_internal.json_inside(a)
				ELSE a::text END,
			CASE json_typeof(b) WHEN 'array' THEN citus_internal.json_inside(b)
				ELSE b::text END) || ']' END::json $$;
CREATE AGGREGATE pg_catalog.json_cat_agg(json) (
	sfunc = citus_internal.json_cat, stype = json, combinefunc = citus_internal.json_cat,
	parallel = safe);
