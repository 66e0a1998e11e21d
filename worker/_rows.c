/* joined(columns, rows) -> list of str: the texts of rows whose cells are given a column at a time.
 *
 * A record is put together from some twenty cells. In Python each is an object; here it is a few bytes behind the last
 * one, and only the whole row becomes an object. worker/rows.py tells what a column may be, and has the same in Python.
 *
 * Everything is checked when the columns are opened: their types, and that they have a cell for each row.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000 /* one binary for Python 3.11 and all that follow */
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef enum { CONSTANT, TEXTS, INTEGERS, HEXADECIMALS, FLOATS, CHOICES } Kind;

typedef struct {
    Kind kind;
    PyObject *texts;  /* list of str, borrowed: a text for each row (TEXTS) or for each number (CHOICES) */
    const char *constant;
    Py_ssize_t size;  /* of the constant */
    Py_buffer numbers;
} Column;

typedef struct {
    char *bytes;
    Py_ssize_t used, room;
} Row;

/* ---- cells: each adds its bytes to the row, and returns -1 with an exception where it cannot ---- */

static int add(Row *row, const char *bytes, Py_ssize_t size) {
    if (size == 0) return 0;
    if (row->room - row->used < size) {
        Py_ssize_t room = 2 * row->room + size;
        char *larger = PyMem_Realloc(row->bytes, (size_t)room);
        if (larger == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        row->bytes = larger;
        row->room = room;
    }
    memcpy(row->bytes + row->used, bytes, (size_t)size);
    row->used += size;
    return 0;
}

static int add_text(Row *row, PyObject *texts, Py_ssize_t place) {
    PyObject *text = PyList_GetItem(texts, place); /* IndexError beyond the end */
    if (text == NULL) return -1;
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size); /* TypeError where it is none */
    return bytes == NULL ? -1 : add(row, bytes, size);
}

static int add_integer(Row *row, int64_t number) {
    char digits[20]; /* of -2^63 */
    size_t start = sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        digits[--start] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (number < 0) digits[--start] = '-';
    return add(row, digits + start, (Py_ssize_t)(sizeof digits - start));
}

static int add_any_float(Row *row, double number) {
    char *text = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (text == NULL) return -1;
    int failed = add(row, text, (Py_ssize_t)strlen(text));
    PyMem_Free(text);
    return failed;
}

/* A number of few decimals is an integer divided by a power of ten: where that division gives the number back, it is
 * what a reader of the decimals will compute too, for both are exact and a division is rounded once. */
static int add_float(Row *row, double number) {
    static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12};
    if (!isfinite(number)) return add(row, "null", 4);
    double magnitude = fabs(number);
    for (size_t decimals = 1; magnitude >= 1e-4 && decimals < sizeof powers / sizeof *powers; decimals++) {
        double scaled = magnitude * powers[decimals];
        if (scaled >= 9e15) break; /* 2^53: beyond, not every integer is a double */
        double integer = rint(scaled);
        if (integer / powers[decimals] != magnitude) continue;
        char digits[24];
        size_t start = sizeof digits;
        uint64_t rest = (uint64_t)integer;
        for (size_t place = 0; place <= decimals || rest != 0; place++) {
            if (place == decimals) digits[--start] = '.';
            digits[--start] = (char)('0' + rest % 10);
            rest /= 10;
        }
        if (signbit(number)) digits[--start] = '-';
        return add(row, digits + start, (Py_ssize_t)(sizeof digits - start));
    }
    return add_any_float(row, number);
}

static int add_hexadecimal(Row *row, uint64_t number) {
    char digits[16];
    for (size_t place = sizeof digits; place-- > 0; number >>= 4) digits[place] = "0123456789abcdef"[number & 15];
    return add(row, digits, sizeof digits);
}

static int add_cell(Row *row, const Column *column, Py_ssize_t at) {
    switch (column->kind) {
    case CONSTANT:
        return add(row, column->constant, column->size);
    case TEXTS:
        return add_text(row, column->texts, at);
    case INTEGERS:
        return add_integer(row, ((const int64_t *)column->numbers.buf)[at]);
    case HEXADECIMALS:
        return add_hexadecimal(row, ((const uint64_t *)column->numbers.buf)[at]);
    case FLOATS:
        return add_float(row, ((const double *)column->numbers.buf)[at]);
    default:
        return add_text(row, column->texts, (Py_ssize_t)((const int64_t *)column->numbers.buf)[at]);
    }
}

/* ---- columns ---- */

/* By the letter of its format (https://docs.python.org/3/library/struct.html); CONSTANT where it is none of ours. */
static Kind kind_of(const Py_buffer *numbers) {
    if (numbers->itemsize != 8 || numbers->ndim != 1 || numbers->format == NULL || strlen(numbers->format) != 1) {
        return CONSTANT;
    }
    switch (*numbers->format) {
    case 'l': case 'q': return INTEGERS;
    case 'L': case 'Q': return HEXADECIMALS;
    case 'd': return FLOATS;
    default: return CONSTANT;
    }
}

static int open_numbers(Column *column, PyObject *array, Py_ssize_t rows) {
    if (PyObject_GetBuffer(array, &column->numbers, PyBUF_ND | PyBUF_FORMAT) < 0) return -1; /* without gaps */
    column->kind = kind_of(&column->numbers);
    if (column->kind == CONSTANT) {
        PyErr_SetString(PyExc_TypeError, "a column of numbers is a flat array of int64, uint64 or float64");
        return -1;
    }
    if (column->numbers.len / 8 != rows) {
        PyErr_Format(PyExc_ValueError, "a column has %zd numbers for %zd rows", column->numbers.len / 8, rows);
        return -1;
    }
    return 0;
}

static int open_texts(Column *column, PyObject *texts) {
    if (!PyList_Check(texts)) {
        PyErr_SetString(PyExc_TypeError, "texts are a list");
        return -1;
    }
    column->texts = texts;
    column->kind = TEXTS;
    return 0;
}

static int open_column(Column *column, PyObject *given, Py_ssize_t rows) {
    if (PyUnicode_Check(given)) {
        column->kind = CONSTANT;
        column->constant = PyUnicode_AsUTF8AndSize(given, &column->size);
        return column->constant == NULL ? -1 : 0;
    }
    if (PyTuple_Check(given) && PyTuple_Size(given) == 2) {
        if (open_texts(column, PyTuple_GetItem(given, 0)) < 0) return -1;
        if (open_numbers(column, PyTuple_GetItem(given, 1), rows) < 0) return -1;
        if (column->kind != INTEGERS) {
            PyErr_SetString(PyExc_TypeError, "texts are chosen by a flat array of int64");
            return -1;
        }
        column->kind = CHOICES;
        return 0;
    }
    if (!PyList_Check(given)) return open_numbers(column, given, rows);
    if (PyList_Size(given) != rows) {
        PyErr_Format(PyExc_ValueError, "a column has %zd texts for %zd rows", PyList_Size(given), rows);
        return -1;
    }
    return open_texts(column, given);
}

static void close_columns(Column *columns, Py_ssize_t count) {
    for (Py_ssize_t place = 0; place < count; place++) {
        if (columns[place].numbers.obj != NULL) PyBuffer_Release(&columns[place].numbers);
    }
    PyMem_Free(columns);
}

/* ---- rows ---- */

static int fill(PyObject *texts, Row *row, const Column *columns, Py_ssize_t count) {
    for (Py_ssize_t at = 0; at < PyList_Size(texts); at++) {
        row->used = 0;
        for (Py_ssize_t place = 0; place < count; place++) {
            if (add_cell(row, &columns[place], at) < 0) return -1;
        }
        PyObject *text = PyUnicode_DecodeUTF8(row->used == 0 ? "" : row->bytes, row->used, "strict");
        if (text == NULL || PyList_SetItem(texts, at, text) < 0) return -1;
    }
    return 0;
}

static PyObject *joined(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *given; /* held by the caller: nothing that is borrowed from it goes away meanwhile */
    Py_ssize_t rows;
    if (!PyArg_ParseTuple(arguments, "O!n", &PyTuple_Type, &given, &rows)) return NULL;
    Py_ssize_t count = PyTuple_Size(given);
    Column *columns = PyMem_Calloc((size_t)count, sizeof *columns);
    if (columns == NULL) return PyErr_NoMemory();
    PyObject *texts = NULL;
    Row row = {NULL, 0, 0};
    for (Py_ssize_t place = 0; place < count; place++) {
        if (open_column(&columns[place], PyTuple_GetItem(given, place), rows) < 0) goto done;
    }
    texts = PyList_New(rows);
    if (texts != NULL && fill(texts, &row, columns, count) < 0) Py_CLEAR(texts);
done:
    PyMem_Free(row.bytes);
    close_columns(columns, count);
    return texts;
}

static PyMethodDef methods[] = {
    {"joined", joined, METH_VARARGS, "joined(columns, rows, /)\n--\n\nThe texts of rows, as worker.rows tells."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_rows", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__rows(void) { return PyModuleDef_Init(&definition); }
