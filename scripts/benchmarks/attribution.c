/* Which Python function is running, told to callgrind.
 *
 * callgrind counts instructions by C function. A program in Python is for it one function, the interpreter, and CPython
 * 3.11 does not even leave and enter that one when Python calls Python. PEP 523 offers a hook at just the place:
 * a function that is called for every Python function in place of the interpreter, and calls the interpreter itself.
 * Here it has callgrind write down and set back its counters at each entry and each exit, with the name of the function
 * that was running up to then. So every instruction lands on the innermost Python function, with all the C code
 * that this one called; how much of it was in which C function is in what callgrind writes.
 *
 * What the hook itself executes is not counted: the counters are set back once more when it is done. One cost is left:
 * with a hook in place Python calls Python by way of C, some hundred instructions a call. They are the same for each, so
 * whoever reads the record can take them off again (attribution.py).
 *
 * From Python: watch(qualname, skip, count). The record begins with call number skip + 1 of the function `qualname`
 * and ends `count` such calls later. An entry's trigger is "CALLER>", an exit's the name of the function that ends.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#if PY_VERSION_HEX < 0x030C0000
#define Py_BUILD_CORE
#include <internal/pycore_frame.h>
#undef Py_BUILD_CORE
#endif
#include <valgrind/callgrind.h>

enum { DEEPEST = 200, LONGEST_NAME = 128 };

struct label {
    char at_exit[LONGEST_NAME], at_call[LONGEST_NAME + 1];
};

static char marker[LONGEST_NAME];
static long skip, count, calls;
static PyThreadState *watched; /* other threads run as they always do */
static struct label running[DEEPEST + 1] = {{"(none)", "(none)>"}}; /* who is, and who called it; by depth */
static int depth;

static const char *name_of(struct _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX < 0x030C0000
    return PyUnicode_AsUTF8(frame->f_code->co_qualname);
#else
    PyCodeObject *code = (PyCodeObject *)PyUnstable_InterpreterFrame_GetCode(frame);
    const char *name = PyUnicode_AsUTF8(code->co_qualname);
    Py_DECREF(code); /* its function, which is running, holds it */
    return name;
#endif
}

static int recording(void)
{
    return calls > skip && calls <= skip + count;
}

static PyObject *evaluate(PyThreadState *thread, struct _PyInterpreterFrame *frame, int throwing)
{
    if (thread != watched || depth == DEEPEST)
        return _PyEval_EvalFrameDefault(thread, frame, throwing);
    if (recording())
        CALLGRIND_DUMP_STATS_AT(running[depth].at_call);
    struct label *label = &running[++depth];
    snprintf(label->at_exit, sizeof label->at_exit, "%s", name_of(frame));
    snprintf(label->at_call, sizeof label->at_call, "%s>", label->at_exit);
    calls += strcmp(label->at_exit, marker) == 0;
    if (recording()) /* not always: it takes long */
        CALLGRIND_ZERO_STATS;
    PyObject *result = _PyEval_EvalFrameDefault(thread, frame, throwing);
    if (recording())
        CALLGRIND_DUMP_STATS_AT(label->at_exit);
    depth--;
    if (recording())
        CALLGRIND_ZERO_STATS;
    return result;
}

static PyObject *watch(PyObject *module, PyObject *arguments)
{
    const char *name;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "sll", &name, &skip, &count))
        return NULL;
    snprintf(marker, sizeof marker, "%s", name);
    watched = PyThreadState_Get();
    _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState_Get(), evaluate);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"watch", watch, METH_VARARGS, "watch(qualname, skip, count): see the top of attribution.c"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "attribution", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit_attribution(void)
{
    return PyModule_Create(&definition);
}
