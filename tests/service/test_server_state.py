"""A request is admitted only when the server is ready and not closed; probes fail while it drains."""

from service.server_state import ServerState


def test_a_new_server_admits_no_request_and_fails_probes() -> None:
    state = ServerState()
    assert not state.ready
    assert not state.admits_requests
    assert not state.passes_probes


def test_a_ready_server_admits_requests_and_passes_probes() -> None:
    state = ServerState()
    state.mark_ready()
    assert state.ready
    assert state.admits_requests
    assert state.passes_probes


def test_a_draining_server_fails_probes_and_still_admits_requests() -> None:
    state = ServerState()
    state.mark_ready()
    state.begin_draining()
    assert state.draining
    assert state.admits_requests
    assert not state.passes_probes


def test_a_closed_server_admits_no_request() -> None:
    state = ServerState()
    state.mark_ready()
    state.close()
    assert state.closed
    assert state.draining
    assert not state.admits_requests
    assert not state.passes_probes


def test_a_server_that_drains_before_its_models_are_loaded_admits_no_request() -> None:
    state = ServerState()
    state.begin_draining()
    assert not state.admits_requests


def test_requests_in_flight_are_counted() -> None:
    state = ServerState()
    state.request_started()
    state.request_started()
    state.request_finished()
    assert state.inflight == 1
