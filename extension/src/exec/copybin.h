/*
 * exec/copybin.h - what a binary COPY begins with.
 */
#pragma once

/* Signature, no flags, no extension: 19 bytes, of which the end of the string is the last. */
static const char herd_copy_binary_head[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0";
