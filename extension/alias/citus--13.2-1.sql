-- All objects are those of the extension pgherd, which this one requires.
\echo Use "CREATE EXTENSION citus" to load this file. \quit
