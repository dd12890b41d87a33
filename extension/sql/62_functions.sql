-- Functions that all nodes are to have: src/ddl/functions.c.
CREATE FUNCTION pg_catalog.create_distributed_function(function_name regprocedure,
	distribution_arg_name text DEFAULT '', colocate_with text DEFAULT 'default',
	force_delegation bool DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_create_distributed_function';
CREATE FUNCTION citus_internal.note_function(function regprocedure, argument int,
	colocation_id int, force_delegation bool) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_note_function';
-- The argument of that name, or "$n", counted from 0.
CREATE FUNCTION citus_internal.function_argument(function oid, argument text, OUT place int,
	OUT type oid) LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
	types oid[];
	names text[];
	modes "char"[];
BEGIN
	SELECT string_to_array(proargtypes::text, ' ')::oid[], proargnames, proargmodes
		INTO types, names, modes FROM pg_proc WHERE oid = function;
	IF modes IS NOT NULL THEN
		names := ARRAY(SELECT n FROM unnest(names, modes) WITH ORDINALITY u(n, m, i)
			WHERE m IN ('i', 'b', 'v') ORDER BY i);
	END IF;
	place := CASE WHEN argument ~ '^\$\d{1,4}$' THEN substr(argument, 2)::int
		ELSE array_position(names, argument) END - 1;
	IF place IS NULL OR place < 0 OR place >= cardinality(types) THEN
		RAISE EXCEPTION 'function % has no argument "%"', function::regprocedure, argument
			USING ERRCODE = 'undefined_parameter',
			HINT = 'Name an input argument, or its place: $1.';
	END IF;
	type := types[place + 1];
END $$;
CREATE FUNCTION citus_internal.function_group(argument_type oid, colocate_with text) RETURNS int
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
	found int;
	key_type oid;
BEGIN
	IF colocate_with = 'default' THEN
		SELECT min(colocationid) INTO found FROM pg_dist_colocation
			WHERE distributioncolumntype = argument_type;
	ELSE
		SELECT colocationid, distributioncolumntype INTO found, key_type
			FROM pg_dist_partition JOIN pg_dist_colocation USING (colocationid)
			WHERE logicalrelid = colocate_with::oid;
		IF key_type IS DISTINCT FROM argument_type THEN
			found := NULL;
		END IF;
	END IF;
	IF found IS NULL THEN
		RAISE EXCEPTION 'no distributed table to colocate the function with'
			USING ERRCODE = 'object_not_in_prerequisite_state',
			DETAIL = format('The argument has type %s.', format_type(argument_type, NULL)),
			HINT = 'The distribution column of the table in colocate_with must have the type of '
				'the argument.';
	END IF;
	RETURN found;
END $$;
