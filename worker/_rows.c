/* What is done for each row of a batch, without an object of Python's for each step.
 *
 * joined(columns, rows) -> list of bytes: the texts of rows whose cells are given a column at a time, as UTF-8.
 *
 * A record is put together from some twenty cells. In Python each is an object; here it is a few bytes behind the last
 * one, and only the whole row becomes an object. worker/rows.py tells what a column may be, and has the same in Python.
 *
 * Everything is checked when the columns are opened: their types, and that they have a cell for each row. After that
 * Python's lock is not needed until the rows become objects, and other threads go on.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000 /* one binary for Python 3.11 and all that follow */
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef enum { CONSTANT, TEXTS, INTEGERS, HEXADECIMALS, FLOATS, SINGLES, CHOICES } Kind;

typedef struct {
    const char *bytes; /* of a str that the column holds on to */
    Py_ssize_t size;
} Text;

typedef struct {
    Kind kind;
    Text constant;
    Text *texts; /* one for each row (TEXTS) or for each number (CHOICES) */
    Py_ssize_t count;
    PyObject *held; /* the tuple of what `texts` point into */
    Py_buffer numbers;
} Column;

typedef struct {
    char *bytes;
    Py_ssize_t used, room;
    PyThreadState *thread; /* ours, while it is without Python's lock */
} Rendering;

/* ---- cells: each adds its bytes, or returns why not; without Python's lock ---- */

enum { NO_MEMORY = -1, NO_TEXT = -2 };

static int add(Rendering *to, const char *bytes, Py_ssize_t size) {
    if (size == 0) return 0;
    if (to->room - to->used < size) {
        Py_ssize_t room = 2 * to->room + size;
        char *larger = realloc(to->bytes, (size_t)room);
        if (larger == NULL) return NO_MEMORY;
        to->bytes = larger;
        to->room = room;
    }
    memcpy(to->bytes + to->used, bytes, (size_t)size);
    to->used += size;
    return 0;
}

static int add_text(Rendering *to, const Text *text) { return add(to, text->bytes, text->size); }

static int add_choice(Rendering *to, const Column *column, int64_t number) {
    return number < 0 || number >= column->count ? NO_TEXT : add_text(to, &column->texts[number]);
}

static int add_integer(Rendering *to, int64_t number) {
    char digits[20]; /* of -2^63 */
    size_t start = sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        digits[--start] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (number < 0) digits[--start] = '-';
    return add(to, digits + start, (Py_ssize_t)(sizeof digits - start));
}

/* As Python writes it; the few that need this are worth taking the lock for. */
static int add_any_float(Rendering *to, double number) {
    PyEval_RestoreThread(to->thread);
    char *text = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    int failed = text == NULL ? NO_MEMORY : add(to, text, (Py_ssize_t)strlen(text));
    PyMem_Free(text);
    PyErr_Clear(); /* memory is at an end, which is said later */
    to->thread = PyEval_SaveThread();
    return failed;
}

static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20};

/* A number of few decimals is an integer divided by a power of ten: where that division gives the number back, it is
 * what a reader of the decimals will compute too, for both are exact and a division is rounded once. */
static int add_float(Rendering *to, double number) {
    if (!isfinite(number)) return add(to, "null", 4);
    double magnitude = fabs(number);
    for (size_t decimals = 1; magnitude >= 1e-4 && decimals <= 12; decimals++) {
        double scaled = magnitude * powers_of_ten[decimals];
        if (scaled >= 9e15) break; /* 2^53: beyond, not every integer is a double */
        uint64_t rest = (uint64_t)(scaled + 0.5);
        if ((double)rest / powers_of_ten[decimals] != magnitude) continue;
        char digits[24];
        size_t start = sizeof digits;
        for (size_t place = 0; place <= decimals || rest != 0; place++) {
            if (place == decimals) digits[--start] = '.';
            digits[--start] = (char)('0' + rest % 10);
            rest /= 10;
        }
        if (signbit(number)) digits[--start] = '-';
        return add(to, digits + start, (Py_ssize_t)(sizeof digits - start));
    }
    return add_any_float(to, number);
}

enum { LEAST_DIGITS = 6, ENOUGH_DIGITS = 9 }; /* all float32 keep 6; 9 tell every one from its neighbours */

/* Far from 1, where powers of ten are not exact, and the smallest float32 have few digits. */
static int add_any_single(Rendering *to, float number) {
    double shortest = number;
    PyEval_RestoreThread(to->thread);
    for (int digits = 1; digits <= ENOUGH_DIGITS; digits++) {
        char *text = PyOS_double_to_string(number, 'e', digits - 1, 0, NULL);
        if (text == NULL) break;
        shortest = PyOS_string_to_double(text, NULL, NULL);
        PyMem_Free(text);
        if ((float)shortest == number) break;
    }
    PyErr_Clear(); /* memory is at an end, which is said later */
    to->thread = PyEval_SaveThread();
    return add_float(to, shortest);
}

/* The shortest decimals that read back as the same float32, as worker/decimals.py finds them. */
static int add_single(Rendering *to, float number) {
    double wide = number, magnitude = fabs(wide);
    if (!isfinite(wide) || magnitude == 0) return add_float(to, wide);
    if (magnitude < 1e-11 || magnitude >= 1e15) return add_any_single(to, number);
    int exponent = 0; /* of the first digit */
    while (magnitude >= powers_of_ten[exponent + 1]) exponent++;
    while (exponent <= 0 && magnitude * powers_of_ten[-exponent] < 1) exponent--;
    double shortest = wide;
    for (int digits = LEAST_DIGITS; digits <= ENOUGH_DIGITS; digits++) {
        int decimals = digits - 1 - exponent;
        double up = powers_of_ten[decimals > 0 ? decimals : 0], down = powers_of_ten[decimals < 0 ? -decimals : 0];
        shortest = rint(wide * up / down) * down / up;
        if ((float)shortest == number) break;
    }
    return add_float(to, shortest);
}

static int add_hexadecimal(Rendering *to, uint64_t number) {
    char digits[16];
    for (size_t place = sizeof digits; place-- > 0; number >>= 4) digits[place] = "0123456789abcdef"[number & 15];
    return add(to, digits, sizeof digits);
}

static int add_cell(Rendering *to, const Column *column, Py_ssize_t at) {
    switch (column->kind) {
    case CONSTANT:
        return add_text(to, &column->constant);
    case TEXTS:
        return add_text(to, &column->texts[at]);
    case INTEGERS:
        return add_integer(to, ((const int64_t *)column->numbers.buf)[at]);
    case HEXADECIMALS:
        return add_hexadecimal(to, ((const uint64_t *)column->numbers.buf)[at]);
    case FLOATS:
        return add_float(to, ((const double *)column->numbers.buf)[at]);
    case SINGLES:
        return add_single(to, ((const float *)column->numbers.buf)[at]);
    default:
        return add_choice(to, column, ((const int64_t *)column->numbers.buf)[at]);
    }
}

/* ---- columns ---- */

/* By the letter of its format (https://docs.python.org/3/library/struct.html); CONSTANT where it is none of ours. */
static Kind kind_of(const Py_buffer *numbers) {
    if (numbers->ndim != 1 || numbers->format == NULL || strlen(numbers->format) != 1) return CONSTANT;
    switch (*numbers->format) {
    case 'l': case 'q': return numbers->itemsize == 8 ? INTEGERS : CONSTANT;
    case 'L': case 'Q': return numbers->itemsize == 8 ? HEXADECIMALS : CONSTANT;
    case 'd': return FLOATS;
    case 'f': return SINGLES;
    default: return CONSTANT;
    }
}

static int open_numbers(Column *column, PyObject *array, Py_ssize_t rows) {
    if (PyObject_GetBuffer(array, &column->numbers, PyBUF_ND | PyBUF_FORMAT) < 0) return -1; /* without gaps */
    column->kind = kind_of(&column->numbers);
    if (column->kind == CONSTANT) {
        PyErr_SetString(PyExc_TypeError, "a column of numbers is a flat array of int64, uint64, float64 or float32");
        return -1;
    }
    Py_ssize_t count = column->numbers.len / column->numbers.itemsize;
    if (count != rows) {
        PyErr_Format(PyExc_ValueError, "a column has %zd numbers for %zd rows", count, rows);
        return -1;
    }
    return 0;
}

static int open_text(Text *text, PyObject *given) {
    text->bytes = PyUnicode_AsUTF8AndSize(given, &text->size); /* TypeError where it is none */
    return text->bytes == NULL ? -1 : 0;
}

static int open_texts(Column *column, PyObject *texts) {
    if (!PyList_Check(texts)) {
        PyErr_SetString(PyExc_TypeError, "texts are a list");
        return -1;
    }
    column->kind = TEXTS;
    column->held = PyList_AsTuple(texts);
    if (column->held == NULL) return -1;
    column->count = PyTuple_Size(column->held);
    column->texts = PyMem_Calloc((size_t)column->count, sizeof *column->texts);
    if (column->texts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t place = 0; place < column->count; place++) {
        if (open_text(&column->texts[place], PyTuple_GetItem(column->held, place)) < 0) return -1;
    }
    return 0;
}

static int open_choices(Column *column, PyObject *texts, PyObject *numbers, Py_ssize_t rows) {
    if (open_texts(column, texts) < 0 || open_numbers(column, numbers, rows) < 0) return -1;
    if (column->kind != INTEGERS) {
        PyErr_SetString(PyExc_TypeError, "texts are chosen by a flat array of int64");
        return -1;
    }
    column->kind = CHOICES;
    return 0;
}

static int open_column(Column *column, PyObject *given, Py_ssize_t rows) {
    if (PyUnicode_Check(given)) {
        column->kind = CONSTANT;
        return open_text(&column->constant, given);
    }
    if (PyTuple_Check(given) && PyTuple_Size(given) == 2) {
        return open_choices(column, PyTuple_GetItem(given, 0), PyTuple_GetItem(given, 1), rows);
    }
    if (!PyList_Check(given)) return open_numbers(column, given, rows);
    if (open_texts(column, given) < 0) return -1;
    if (column->count != rows) {
        PyErr_Format(PyExc_ValueError, "a column has %zd texts for %zd rows", column->count, rows);
        return -1;
    }
    return 0;
}

static void close_columns(Column *columns, Py_ssize_t count) {
    for (Py_ssize_t place = 0; place < count; place++) {
        if (columns[place].numbers.obj != NULL) PyBuffer_Release(&columns[place].numbers);
        PyMem_Free(columns[place].texts);
        Py_XDECREF(columns[place].held);
    }
    PyMem_Free(columns);
}

/* ---- rows ---- */

/* `ends` becomes where each row ends in the bytes. */
static int render(Rendering *to, Py_ssize_t *ends, Py_ssize_t rows, const Column *columns, Py_ssize_t count) {
    int failed = 0;
    to->thread = PyEval_SaveThread();
    for (Py_ssize_t at = 0; at < rows && !failed; at++) {
        for (Py_ssize_t place = 0; place < count && !failed; place++) failed = add_cell(to, &columns[place], at);
        ends[at] = to->used;
    }
    PyEval_RestoreThread(to->thread);
    if (failed == NO_MEMORY) PyErr_NoMemory();
    if (failed == NO_TEXT) PyErr_SetString(PyExc_IndexError, "a number chooses a text that is not there");
    return failed;
}

static PyObject *cut(const Rendering *rendered, const Py_ssize_t *ends, Py_ssize_t rows) {
    PyObject *texts = PyList_New(rows);
    Py_ssize_t start = 0;
    for (Py_ssize_t at = 0; at < rows && texts != NULL; start = ends[at++]) {
        PyObject *text = PyBytes_FromStringAndSize(NULL, ends[at] - start);
        if (text == NULL) Py_CLEAR(texts);
        else {
            if (ends[at] > start) memcpy(PyBytes_AsString(text), rendered->bytes + start, (size_t)(ends[at] - start));
            PyList_SetItem(texts, at, text);
        }
    }
    return texts;
}

static PyObject *joined(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *given;
    Py_ssize_t rows;
    if (!PyArg_ParseTuple(arguments, "O!n", &PyTuple_Type, &given, &rows)) return NULL;
    if (rows < 0) return PyErr_Format(PyExc_ValueError, "%zd rows", rows);
    Py_ssize_t count = PyTuple_Size(given);
    Column *columns = PyMem_Calloc((size_t)count, sizeof *columns);
    Py_ssize_t *ends = PyMem_Calloc((size_t)rows, sizeof *ends);
    PyObject *texts = NULL;
    Rendering rendering = {NULL, 0, 0, NULL};
    if (columns == NULL || ends == NULL) {
        PyErr_NoMemory();
        count = 0;
        goto done;
    }
    for (Py_ssize_t place = 0; place < count; place++) {
        if (open_column(&columns[place], PyTuple_GetItem(given, place), rows) < 0) goto done;
    }
    if (render(&rendering, ends, rows, columns, count) == 0) texts = cut(&rendering, ends, rows);
done:
    free(rendering.bytes);
    PyMem_Free(ends);
    if (columns != NULL) close_columns(columns, count);
    return texts;
}

/* ---- what came in ---- */

enum { PIECE = 255 }; /* so many bytes are counted in one, which lets the compiler take many at once */

/* Whether a text may be looked at quickly: not longer than `most`, no more than `brackets` opening ones, UTF-8. */
static int is_usual(PyObject *value, Py_ssize_t most, Py_ssize_t brackets) {
    if (!PyBytes_Check(value) || PyBytes_Size(value) > most) return 0;
    const unsigned char *text = (const unsigned char *)PyBytes_AsString(value);
    Py_ssize_t size = PyBytes_Size(value), opening = 0;
    unsigned char all = 0;
    for (Py_ssize_t start = 0; start < size; start += PIECE) {
        Py_ssize_t end = size - start < PIECE ? size : start + PIECE;
        unsigned char here = 0;
        for (Py_ssize_t at = start; at < end; at++) {
            all |= text[at];
            here = (unsigned char)(here + ((text[at] | 0x20) == '{')); /* '[' | 0x20 is '{' */
        }
        opening += here;
    }
    if (opening > brackets) return 0;
    if (all < 0x80) return 1;
    PyObject *decoded = PyUnicode_DecodeUTF8((const char *)text, size, "strict");
    if (decoded == NULL) PyErr_Clear();
    else Py_DECREF(decoded);
    return decoded != NULL;
}

static PyObject *unusual(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *values;
    Py_ssize_t most, brackets;
    if (!PyArg_ParseTuple(arguments, "O!nn", &PyList_Type, &values, &most, &brackets)) return NULL;
    PyObject *rows = PyList_New(0);
    for (Py_ssize_t at = 0; at < PyList_Size(values) && rows != NULL; at++) {
        if (is_usual(PyList_GetItem(values, at), most, brackets)) continue;
        PyObject *row = PyLong_FromSsize_t(at);
        if (row == NULL || PyList_Append(rows, row) < 0) Py_CLEAR(rows);
        Py_XDECREF(row);
    }
    return rows;
}

static PyObject *longest(PyObject *module, PyObject *texts) {
    (void)module;
    Py_ssize_t most = 0;
    if (!PyList_Check(texts)) return PyErr_Format(PyExc_TypeError, "texts are a list");
    for (Py_ssize_t at = 0; at < PyList_Size(texts); at++) {
        PyObject *text = PyList_GetItem(texts, at);
        Py_ssize_t size = PyBytes_Check(text) ? PyBytes_Size(text) : PyUnicode_GetLength(text); /* or TypeError */
        if (size < 0) return NULL;
        if (size > most) most = size;
    }
    return PyLong_FromSsize_t(most);
}

static PyMethodDef methods[] = {
    {"longest", longest, METH_O, "longest(texts, /)\n--\n\nThe length of the longest text."},
    {"unusual", unusual, METH_VARARGS, "unusual(values, most, brackets, /)\n--\n\nThe rows, as worker.nesting tells."},
    {"joined", joined, METH_VARARGS, "joined(columns, rows, /)\n--\n\nThe texts of rows, as worker.rows tells."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_rows", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__rows(void) { return PyModuleDef_Init(&definition); }
