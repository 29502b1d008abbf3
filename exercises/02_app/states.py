"""How a student can stand before exercise 02."""

DECORATOR = "@app.task\n"


def stub(student):
    student.hand_out()


no_app = stub


def reference(student):
    student.solve()


def not_importable(student):
    student.solve()
    student.edit("my_ml_app.py", "def predict(payload):", "def predict(payload)")


def sends_at_import(student):
    student.solve()
    student.edit("my_ml_app.py", "    return\n", '    return\n\n\npredict.delay({"message": "hello"})\n')


def not_registered(student):
    student.solve()
    student.edit("my_ml_app.py", DECORATOR, "")


def other_name(student):
    student.solve()
    student.edit("my_ml_app.py", DECORATOR, '@app.task(name="predict")\n')


def no_configuration(student):
    student.solve()
    student.edit("my_ml_app.py", 'app.config_from_object("celeryconfig")', "")


def not_only_json(student):
    student.solve()
    student.edit("celeryconfig.py", 'accept_content = ["json"]', 'accept_content = ["json", "pickle"]')


def own_setting(student):
    student.solve()
    student.edit("my_ml_app.py", 'Celery("my_ml_app")', 'Celery("my_ml_app", broker="amqp://guest:guest@localhost//")')


def async_predict(student):
    student.solve()
    student.edit("my_ml_app.py", "def predict", "async def predict")


def other_arguments(student):
    student.solve()
    student.edit("my_ml_app.py", "def predict(payload)", "def predict()")
    student.edit("my_ml_app.py", "    print(payload)\n", "")


def other_module(student):
    """The file's name, and not the module's."""
    student.solve()
    student.edit("my_ml_app.py", '"celeryconfig"', '"celeryconfig.py"')
