// Smith-Waterman local alignment with affine gaps (Gotoh), as a `wasm/1` program: no imports, no C library.
//
// Input and output layouts, tie rules and error codes: ../README.md. The CPU reference, equal to the bit, is
// ../../src/align/gotoh.rs. Rebuild with ../build.sh; ../build.sh --check compares with the committed module.

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;

#define EXPORT(name) __attribute__((export_name(#name), visibility("default")))

enum { LETTERS = 24, PAGE_BYTES = 65536, COMMON_HEAD_BYTES = 596, UNIT_HEAD_BYTES = 12, RECORD_WORDS = 6 };
// Format 1: alignments. Format 2: only scores and ends, in slots, as the WGSL program of ../../align-wgsl writes them.
enum { ALIGNMENTS = 1, ENDS = 2, ENDS_HEAD_BYTES = 600, END_WORDS = 3, SLOTS_MAX = 65535, ENDS_TARGET_MAX = 3072, ENDS_SCORE_MAX = 21 };
enum { BAD_COMMON = -1, BAD_UNIT = -2, OUT_OF_MEMORY = -3 };
enum { SEQUENCE_LENGTH_MAX = 65535 };
#define CELLS_MAX (1ull << 27)

// Low enough that no gap path wins, high enough that 65,535 extensions of 1,000 stay inside 32 bits.
#define NEVER (-1000000000)

// One byte per cell of the trace.
enum { FROM_ZERO = 0, FROM_DIAGONAL = 1, FROM_INSERTION = 2, FROM_DELETION = 3, FROM_MASK = 3 };
enum { INSERTION_EXTENDS = 4, DELETION_EXTENDS = 8 };

// Operations, numbered as in BAM.
enum { OP_INSERTION = 1, OP_DELETION = 2, OP_EQUAL = 7, OP_DIFFERENT = 8 };

extern u8 __heap_base;
static u64 heap_end = 0;

// A bump allocator: an instance lives for one unit, so nothing is given back one by one. 0 = no memory.
static u32 take(u64 bytes) {
  if (heap_end == 0) heap_end = ((u64)(u32)&__heap_base + 15) & ~15ull;
  u64 begin = heap_end, end = (begin + bytes + 15) & ~15ull;
  u64 have = (u64)__builtin_wasm_memory_size(0) * PAGE_BYTES;
  if (end > have) {
    u64 pages = (end - have + PAGE_BYTES - 1) / PAGE_BYTES;
    if (pages > 65536 || __builtin_wasm_memory_grow(0, (u32)pages) == (__SIZE_TYPE__)-1) return 0;
  }
  heap_end = end;
  return (u32)begin;
}

EXPORT(alloc) u32 alloc(u32 bytes) {
  u32 at = take(bytes);
  if (at == 0) __builtin_trap();
  return at;
}

static u32 word(const u8 *at) { return at[0] | (u32)at[1] << 8 | (u32)at[2] << 16 | (u32)at[3] << 24; }

// Sequences as they lie in a blob: `offsets` has count + 1 words, `residues` holds codes below LETTERS.
typedef struct {
  u32 count;
  const u8 *offsets;
  const u8 *residues;
} Sequences;

static u32 offset(const Sequences *all, u32 index) { return word(all->offsets + 4 * (u64)index); }
static u32 length(const Sequences *all, u32 index) { return offset(all, index + 1) - offset(all, index); }

static u32 longest(const Sequences *all, u32 first, u32 count) {
  u32 most = 0;
  for (u32 i = first; i < first + count; i++)
    if (length(all, i) > most) most = length(all, i);
  return most;
}

// Reads offsets and residues that must fill the blob exactly, in format 2 with zeros up to a multiple of 4 bytes. Returns 1 if well formed.
static int read_sequences(Sequences *all, u32 format, u32 count, const u8 *at, u64 bytes) {
  u64 head = 4 * ((u64)count + 1);
  if (bytes < head) return 0;
  all->count = count;
  all->offsets = at;
  all->residues = at + head;
  const u64 residues = offset(all, count), filled = format == ENDS ? (residues + 3) & ~3ull : residues;
  if (offset(all, 0) != 0 || filled != bytes - head) return 0;
  for (u32 i = 0; i < count; i++) {
    u32 begin = offset(all, i), end = offset(all, i + 1);
    if (end <= begin || end - begin > SEQUENCE_LENGTH_MAX) return 0;
  }
  for (u64 i = 0; i < residues; i++)
    if (all->residues[i] >= LETTERS) return 0;
  for (u64 i = residues; i < filled; i++)
    if (all->residues[i] != 0) return 0;
  return 1;
}

typedef struct {
  i32 gap_open, gap_extend, score_min;
  const i8 *scores;
} Scheme;

typedef struct {
  i32 score;
  u32 query_end, target_end; // one past the last residue; 0 when the score is 0
} Best;

// Work memory, allocated once for the largest pair of the unit.
static i32 *rows; // two words per target residue
static u8 *trace; // one mark per cell

// Fills the dynamic programming matrix row by row. `marks`, if not null, gets one byte per cell: query_len rows of target_len.
// Ties: the cell's own value prefers diagonal, then insertion, then deletion; a gap prefers extending over opening; the best cell
// is the one with the least target end, among these the one reached first.
static inline __attribute__((always_inline)) Best fill(const Scheme *scheme, const u8 *query, u32 query_len, const u8 *target,
                                                       u32 target_len, u8 *marks) {
  const i32 open = scheme->gap_open, extend = scheme->gap_extend;
  // Pairs of (value, insertion) per column, so that one cache line serves both.
  i32 *cells = rows;
  for (u32 j = 0; j < target_len; j++) {
    cells[2 * j] = 0;
    cells[2 * j + 1] = NEVER;
  }
  Best best = {0, 0, 0};
  for (u32 i = 0; i < query_len; i++) {
    const i8 *scores = scheme->scores + (u32)query[i] * LETTERS;
    i32 diagonal = 0, left = 0, deletion = NEVER;
    for (u32 j = 0; j < target_len; j++) {
      const i32 up = cells[2 * j];
      const i32 insertion_open = up - open, insertion_extend = cells[2 * j + 1] - extend;
      const i32 deletion_open = left - open, deletion_extend = deletion - extend;
      const i32 insertion = insertion_open > insertion_extend ? insertion_open : insertion_extend;
      deletion = deletion_open > deletion_extend ? deletion_open : deletion_extend;
      const i32 matched = diagonal + scores[target[j]];
      i32 value = matched > 0 ? matched : 0;
      value = insertion > value ? insertion : value;
      value = deletion > value ? deletion : value;
      if (marks) {
        u32 from = value == matched ? FROM_DIAGONAL : value == insertion ? FROM_INSERTION : FROM_DELETION;
        from = value == 0 ? FROM_ZERO : from;
        marks[j] = (u8)(from | (insertion_open > insertion_extend ? 0 : INSERTION_EXTENDS) |
                        (deletion_open > deletion_extend ? 0 : DELETION_EXTENDS));
      }
      cells[2 * j] = value;
      cells[2 * j + 1] = insertion;
      diagonal = up;
      left = value;
      if (value >= best.score && (value > best.score || j + 1 < best.target_end)) {
        best.score = value;
        best.query_end = i + 1;
        best.target_end = j + 1;
      }
    }
    if (marks) marks += target_len;
  }
  return best;
}

static __attribute__((noinline)) Best fill_scores(const Scheme *scheme, const u8 *query, u32 query_len, const u8 *target, u32 target_len) {
  return fill(scheme, query, query_len, target, target_len, 0);
}

static __attribute__((noinline)) Best fill_marks(const Scheme *scheme, const u8 *query, u32 query_len, const u8 *target, u32 target_len,
                                                 u8 *marks) {
  return fill(scheme, query, query_len, target, target_len, marks);
}

// The output is the last allocation, so it grows in place.
static u32 *output;
static u64 output_words, output_room;

static int reserve(u64 words) {
  if (output_words + words <= output_room) return 1;
  u64 more = words + 4096;
  u32 fresh = take(4 * more);
  if (fresh == 0) return 0;
  if (output_room == 0) output = (u32 *)fresh;
  output_room = ((u64)fresh - (u32)output) / 4 + more;
  return 1;
}

// Walks back from the best cell and appends the record: runs of operations, first column first. The caller reserved the room.
static void append_alignment(const u8 *query, const u8 *target, u32 stride, const Best *best, const u8 *marks) {
  u32 *record = output + output_words, *ops = record + RECORD_WORDS;
  u32 i = best->query_end, j = best->target_end, count = 0, state = FROM_ZERO;
  while (i > 0 && j > 0) {
    const u8 mark = marks[(u64)(i - 1) * stride + (j - 1)];
    if (state == FROM_ZERO) state = mark & FROM_MASK;
    if (state == FROM_ZERO) break;
    u32 op;
    if (state == FROM_DIAGONAL) {
      op = query[i - 1] == target[j - 1] ? OP_EQUAL : OP_DIFFERENT;
      i--, j--;
      state = FROM_ZERO;
    } else if (state == FROM_INSERTION) {
      op = OP_INSERTION;
      i--;
      if (!(mark & INSERTION_EXTENDS)) state = FROM_ZERO;
    } else {
      op = OP_DELETION;
      j--;
      if (!(mark & DELETION_EXTENDS)) state = FROM_ZERO;
    }
    if (count > 0 && (ops[count - 1] & 15) == op)
      ops[count - 1] += 16;
    else
      ops[count++] = 16 | op;
  }
  for (u32 a = 0; a < count / 2; a++) {
    u32 swap = ops[a];
    ops[a] = ops[count - 1 - a];
    ops[count - 1 - a] = swap;
  }
  record[0] = (u32)best->score;
  record[1] = i;
  record[2] = best->query_end;
  record[3] = j;
  record[4] = best->target_end;
  record[5] = count;
  output_words += RECORD_WORDS + count;
}

// One pair: only the score if it stays below score_min, otherwise the alignment as well. Returns 0 or an error code.
static int align_pair(const Scheme *scheme, const u8 *query, u32 query_len, const u8 *target, u32 target_len) {
  u32 marked_rows = query_len, stride = target_len;
  if (!reserve(RECORD_WORDS + (u64)query_len + target_len)) return OUT_OF_MEMORY;
  Best best;
  if (scheme->score_min > 1) {
    best = fill_scores(scheme, query, query_len, target, target_len);
    marked_rows = best.query_end;
    stride = best.target_end;
  }
  if (scheme->score_min <= 1 || best.score >= scheme->score_min) {
    best = fill_marks(scheme, query, marked_rows, target, stride, trace);
  }
  if (best.score >= scheme->score_min) {
    append_alignment(query, target, stride, &best, trace);
    return 0;
  }
  u32 *record = output + output_words;
  record[0] = (u32)best.score;
  for (u32 i = 1; i < RECORD_WORDS; i++) record[i] = 0;
  output_words += RECORD_WORDS;
  return 0;
}

// Format 2: score, query end and target end of each pair in a slot of its own; unused slots stay zero.
static i64 write_ends(const Scheme *scheme, const Sequences *queries, const Sequences *targets, u32 first, u32 count, u32 slots) {
  u32 *slot = (u32 *)take(4ull * END_WORDS * slots);
  if (slot == 0) return OUT_OF_MEMORY;
  const u64 bytes = 4ull * END_WORDS * slots, at = (u32)slot;
  for (u32 q = 0; q < queries->count; q++)
    for (u32 t = first; t < first + count; t++) {
      const Best best = fill_scores(scheme, queries->residues + offset(queries, q), length(queries, q), targets->residues + offset(targets, t),
                                    length(targets, t));
      slot[0] = (u32)best.score;
      slot[1] = best.query_end;
      slot[2] = best.target_end;
      slot += END_WORDS;
    }
  return (i64)(at << 32 | bytes);
}

EXPORT(run) i64 run(const u8 *common, u32 common_len, const u8 *unit, u32 unit_len) {
  Sequences queries, targets;
  if (common_len < COMMON_HEAD_BYTES) return BAD_COMMON;
  const u32 format = word(common), head = format == ENDS ? ENDS_HEAD_BYTES : COMMON_HEAD_BYTES;
  if ((format != ALIGNMENTS && format != ENDS) || common_len < head) return BAD_COMMON;
  const u32 open = word(common + 4), extend = word(common + 8), score_min = word(common + 12);
  if (open < 1 || open > 1000 || extend > open || score_min < 1 || score_min > 1000000) return BAD_COMMON;
  const Scheme scheme = {(i32)open, (i32)extend, (i32)score_min, (const i8 *)common + 16};
  const u32 slots = format == ENDS ? word(common + 596) : 0;
  if (format == ENDS) {
    if (slots < 1 || slots > SLOTS_MAX) return BAD_COMMON;
    for (u32 i = 0; i < LETTERS * LETTERS; i++)
      if (scheme.scores[i] > ENDS_SCORE_MAX) return BAD_COMMON;
  }
  if (!read_sequences(&targets, format, word(common + 592), common + head, common_len - head)) return BAD_COMMON;

  if (unit_len < UNIT_HEAD_BYTES) return BAD_UNIT;
  const u32 first = word(unit + 4), count = word(unit + 8);
  if ((u64)first + count > targets.count) return BAD_UNIT;
  if (!read_sequences(&queries, format, word(unit), unit + UNIT_HEAD_BYTES, unit_len - UNIT_HEAD_BYTES)) return BAD_UNIT;

  const u64 query_len_max = longest(&queries, 0, queries.count), target_len_max = longest(&targets, first, count);
  if (query_len_max * target_len_max > CELLS_MAX) return BAD_UNIT;
  const u32 rows_at = take(8 * target_len_max);
  if (rows_at == 0) return OUT_OF_MEMORY;
  rows = (i32 *)rows_at;
  if (format == ENDS) {
    if (target_len_max > ENDS_TARGET_MAX || (u64)queries.count * count > slots) return BAD_UNIT;
    return write_ends(&scheme, &queries, &targets, first, count, slots);
  }
  const u32 trace_at = take(query_len_max * target_len_max);
  if (trace_at == 0 || !reserve(1)) return OUT_OF_MEMORY;
  trace = (u8 *)trace_at;
  for (u32 q = 0; q < queries.count; q++)
    for (u32 t = first; t < first + count; t++) {
      int code = align_pair(&scheme, queries.residues + offset(&queries, q), length(&queries, q), targets.residues + offset(&targets, t),
                            length(&targets, t));
      if (code != 0) return code;
    }
  return (i64)((u64)(u32)output << 32 | 4 * output_words);
}
