"""How a student can stand before exercise 08."""


def stub(student):
    student.hand_out()
    student.worker()


no_autoscale = stub


def reference(student):
    student.solve()
    student.worker("--autoscale=10,2")


def other_limits(student):
    student.solve()
    student.worker("--autoscale=4")


def swapped(student):
    student.solve()
    student.worker("--autoscale=2,10")


def concurrency_beside(student):
    student.solve()
    student.worker("-c", "4", "--autoscale", "10,2")
