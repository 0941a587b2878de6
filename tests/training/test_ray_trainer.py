"""The parts of training on Ray that can be tested without Ray; `make cluster-check` tests the rest."""

import socket

import pytest

from training.ray_trainer import ClusterError, check_reachable


def test_missing_ray_cluster_is_refused_immediately() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        check_reachable(f"127.0.0.1:{port}")
    with pytest.raises(ClusterError, match=f"no cluster at 127.0.0.1:{port}, which RAY_ADDRESS names"):
        check_reachable(f"127.0.0.1:{port}")
    with pytest.raises(ClusterError):
        check_reachable("127.0.0.1:99999")


@pytest.mark.parametrize("address", ["", "auto", "ray://head:10001"])
def test_other_ray_addresses_are_not_checked(address: str) -> None:
    check_reachable(address)
