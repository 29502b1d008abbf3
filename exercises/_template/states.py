"""How a student can stand before exercise NN: one function for each wrong state, each with real servers."""


def stub(student):
    """Who has solved the exercises before this one, and has just begun."""
    student.hand_out()


not_done = stub  # the first wrong state: nothing has been done


def reference(student):
    """Who has done all of it."""
    student.solve()
    student.worker()  # TODO: whatever the README says to start and to type
