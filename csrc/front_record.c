/*
 * front_record.c - a read-only walk through state.json.
 *
 * It takes only what jsonio.dumps() writes: no blanks, no duplicate members that matter, one spelling
 * for each character.  So a string can be printed again as it stands, and comparing bytes is
 * comparing strings.  Everything else is refused, and Python reads the file.
 */
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_DEPTH 64
#define MAX_RECORD (1 << 20)

struct json {
	const char *at, *end;
};

bool text_is(const struct text *text, const char *s)
{
	return text->len == strlen(s) && !memcmp(text->s, s, text->len);
}

static bool text_same(const struct text *a, const struct text *b)
{
	return a->len == b->len && !memcmp(a->s, b->s, a->len);
}

static bool take(struct json *j, char c)
{
	if (j->at == j->end || *j->at != c)
		return false;
	j->at++;
	return true;
}

/* After a backslash: one of the escapes that jsonio.dumps() uses. */
static bool take_escape(struct json *j)
{
	static const char hex[] = "0123456789abcdef";
	unsigned int code = 0;
	int i;

	if (j->at == j->end)
		return false;
	if (*j->at != 'u')
		return *j->at && strchr("\"\\nrtbf", *j->at) && j->at++;
	if (j->end - j->at < 5)
		return false;
	for (i = 1; i <= 4; i++) {
		const char *digit = j->at[i] ? strchr(hex, j->at[i]) : NULL;

		if (!digit)
			return false;
		code = code * 16 + (unsigned int)(digit - hex);
	}
	j->at += 5;
	if (code == '<' || code == '>' || code == '&' || code == 0x2028 || code == 0x2029)
		return true;
	return code < 0x20 && code != '\n' && code != '\r' && code != '\t' && code != '\b' &&
	       code != '\f';
}

/* One character of two to four bytes; the shortest form only, no surrogates (RFC 3629). */
static bool take_utf8(struct json *j)
{
	const unsigned char *s = (const unsigned char *)j->at;
	ptrdiff_t n = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
	int i;

	if (!n || j->end - j->at < n)
		return false;
	for (i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return false;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return false;
	if (n == 3 && s[0] == 0xe2 && s[1] == 0x80 && (s[2] == 0xa8 || s[2] == 0xa9))
		return false; /* U+2028 and U+2029 are written as escapes */
	j->at += n;
	return true;
}

static bool take_string(struct json *j, struct text *ret)
{
	const char *start;

	if (!take(j, '"'))
		return false;
	start = j->at;
	while (j->at < j->end && *j->at != '"') {
		unsigned char c = (unsigned char)*j->at;

		if (c == '\\') {
			j->at++;
			if (!take_escape(j))
				return false;
		} else if (c >= 0x80) {
			if (!take_utf8(j))
				return false;
		} else if (c < 0x20 || c == '<' || c == '>' || c == '&') {
			return false;
		} else {
			j->at++;
		}
	}
	ret->s = start;
	ret->len = (size_t)(j->at - start);
	return take(j, '"');
}

static size_t take_digits(struct json *j)
{
	const char *start = j->at;

	while (j->at < j->end && *j->at >= '0' && *j->at <= '9')
		j->at++;
	return (size_t)(j->at - start);
}

static bool take_integer(struct json *j, uint64_t *ret)
{
	const char *start = j->at;
	size_t n = take_digits(j), i;

	if (!n || n > 18 || (n > 1 && *start == '0'))
		return false;
	for (*ret = 0, i = 0; i < n; i++)
		*ret = *ret * 10 + (uint64_t)(start[i] - '0');
	return true;
}

static bool skip_number(struct json *j)
{
	const char *start;
	size_t n;

	(void)take(j, '-');
	start = j->at;
	n = take_digits(j);
	if (!n || (n > 1 && *start == '0'))
		return false;
	if (take(j, '.') && !take_digits(j))
		return false;
	if (take(j, 'e') || take(j, 'E')) {
		if (!take(j, '-'))
			(void)take(j, '+');
		return take_digits(j) > 0;
	}
	return true;
}

static bool skip_word(struct json *j, const char *word)
{
	while (*word)
		if (!take(j, *word++))
			return false;
	return true;
}

/*
 * The next member of an object, or element of an array (key NULL): 1 with the cursor at its value, 0 at
 * the end, -1 if it is malformed.  *first is true before the first call.
 */
static int next(struct json *j, bool *first, char close, struct text *key)
{
	if (*first ? take(j, close) : !take(j, ','))
		return *first || take(j, close) ? 0 : -1;
	*first = false;
	if (key && !(take_string(j, key) && take(j, ':')))
		return -1;
	return 1;
}

static bool skip_value(struct json *j, int depth)
{
	bool first = true;
	struct text key;
	char open;
	int more;

	if (j->at == j->end || depth > MAX_DEPTH)
		return false;
	switch (open = *j->at) {
	case '"':
		return take_string(j, &key);
	case 't':
		return skip_word(j, "true");
	case 'f':
		return skip_word(j, "false");
	case 'n':
		return skip_word(j, "null");
	case '{':
	case '[':
		j->at++;
		while ((more = next(j, &first, open == '{' ? '}' : ']',
				    open == '{' ? &key : NULL)) > 0)
			if (!skip_value(j, depth + 1))
				return false;
		return more == 0;
	default:
		return skip_number(j);
	}
}

/* Members are looked at once; a second one of the same name is for Python to merge. */
static bool once(unsigned int *seen, unsigned int bit)
{
	bool fresh = !(*seen & bit);

	*seen |= bit;
	return fresh;
}

static bool take_labels(struct json *j, struct record *ret)
{
	bool first = true;
	int more;

	if (!take(j, '['))
		return false;
	while ((more = next(j, &first, ']', NULL)) > 0)
		if (ret->n_labels == MAX_LABELS || !take_string(j, &ret->labels[ret->n_labels++]))
			return false;
	return more == 0;
}

static bool take_config(struct json *j, struct record *ret)
{
	bool first = true, ok = true;
	unsigned int seen = 0;
	struct text key;
	int more;

	if (!take(j, '{'))
		return false;
	while (ok && (more = next(j, &first, '}', &key)) > 0) {
		if (text_is(&key, "rootfs"))
			ok = once(&seen, 1) && take_string(j, &ret->rootfs);
		else if (text_is(&key, "labels"))
			ok = once(&seen, 2) && take_labels(j, ret);
		else
			ok = skip_value(j, 2);
	}
	return ok && more == 0 && seen == 3;
}

/* Paths are used, not printed: one that needs an escape is refused.  Its closing quote becomes NUL. */
static bool take_paths(struct json *j, struct record *ret)
{
	struct text name, path;
	bool first = true;
	unsigned int i;
	int more;

	if (!take(j, '{'))
		return false;
	while ((more = next(j, &first, '}', &name)) > 0) {
		if (ret->n_paths == MAX_PATHS || !take_string(j, &path) || path.len < 2 ||
		    path.s[0] != '/' || memchr(path.s, '\\', path.len))
			return false;
		for (i = 0; i < ret->n_paths; i++)
			if (text_same(&ret->names[i], &name))
				return false;
		ret->names[i] = name;
		ret->paths[i] = (char *)path.s;
		ret->paths[i][path.len] = '\0';
		ret->n_paths++;
	}
	return more == 0;
}

static bool take_own(struct json *j, struct record *ret)
{
	bool first = true, ok = true;
	unsigned int seen = 0;
	struct text key, driver;
	int more;

	if (!take(j, '{'))
		return false;
	while (ok && (more = next(j, &first, '}', &key)) > 0) {
		if (text_is(&key, "simple")) {
			ok = once(&seen, 1);
			ret->simple = j->at < j->end && *j->at == 't';
		} else if (text_is(&key, "driver")) {
			ok = once(&seen, 2) && take_string(j, &driver);
			ret->unit = ok && !text_is(&driver, "cgroupfs");
			continue;
		}
		ok = ok && skip_value(j, 2);
	}
	return ok && more == 0;
}

bool record_parse(char *data, size_t len, struct record *ret)
{
	struct json j = { data, data + len };
	bool first = true, ok = true;
	unsigned int seen = 0;
	struct text key;
	int more;

	ret->n_labels = ret->n_paths = 0;
	ret->simple = ret->unit = false;
	if (!take(&j, '{'))
		return false;
	while (ok && (more = next(&j, &first, '}', &key)) > 0) {
		if (text_is(&key, "id"))
			ok = once(&seen, 1) && take_string(&j, &ret->id);
		else if (text_is(&key, "init_process_pid"))
			ok = once(&seen, 2) && take_integer(&j, &ret->pid);
		else if (text_is(&key, "init_process_start"))
			ok = once(&seen, 4) && take_integer(&j, &ret->start);
		else if (text_is(&key, "created"))
			ok = once(&seen, 8) && take_string(&j, &ret->created);
		else if (text_is(&key, "config"))
			ok = once(&seen, 16) && take_config(&j, ret);
		else if (text_is(&key, "cgroup_paths"))
			ok = once(&seen, 32) && take_paths(&j, ret);
		else if (text_is(&key, "pyrunc"))
			ok = once(&seen, 64) && take_own(&j, ret);
		else
			ok = skip_value(&j, 1);
	}
	return ok && more == 0 && j.at == j.end && seen == 127 && ret->pid > 0 &&
	       ret->pid <= INT32_MAX;
}

/* Read and check <directory>/state.json; only records that need nothing but the front are taken. */
bool record_load(int directory, const char *id, struct record *ret)
{
	static char data[MAX_RECORD];
	cleanup_fd int fd =
		openat(directory, "state.json", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return false;
	while ((n = read(fd, data + len, sizeof(data) - len)) > 0)
		len += (size_t)n;
	return n == 0 && len < sizeof(data) && record_parse(data, len, ret) && ret->simple &&
	       text_is(&ret->id, id);
}
