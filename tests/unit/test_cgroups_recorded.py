"""config.cgroups of the record: runc's names, and the way back for `update`."""

from pyrunc import cgroups

RESOURCES = {
    "memory": {"limit": 100, "swap": 200, "reservation": 50, "checkBeforeUpdate": True},
    "cpu": {"shares": 1, "quota": -1, "period": 3, "burst": 0, "cpus": "0", "mems": "1", "idle": 0},
    "pids": {"limit": 0},
    "blockIO": {"weight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 11}]},
    "unified": {"memory.high": "5"},
}


def test_names_are_those_of_runc():
    got = cgroups.record(
        {"name": "c1", "path": ""},
        {
            **RESOURCES,
            "devices": [{"allow": False, "access": "rwm"}],
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
            "network": {"classID": 7, "priorities": [{"name": "lo", "priority": 1}]},
            "rdma": {"d": {"hcaHandles": 3}},
        },
    )
    assert got["name"] == "c1"
    assert got["path"] == ""
    assert got["devices"][0] == {
        "type": 97,
        "major": -1,
        "minor": -1,
        "permissions": "rwm",
        "allow": False,
    }
    assert len(got["devices"]) == 12
    assert (got["memory"], got["memory_swap"], got["memory_reservation"]) == (100, 200, 50)
    assert (got["cpu_shares"], got["cpu_quota"], got["cpu_period"]) == (1, -1, 3)
    assert (got["cpu_burst"], got["cpu_idle"], got["pids_limit"]) == (0, 0, 0)
    assert (got["cpuset_cpus"], got["cpuset_mems"]) == ("0", "1")
    assert got["blkio_weight_device"] == [{"major": 8, "minor": 0, "weight": 11}]
    assert got["hugetlb_limit"] == [{"page_size": "2MB", "limit": 4}]
    assert got["net_cls_classid_u"] == 7
    assert got["net_prio_ifpriomap"] == [{"interface": "lo", "priority": 1}]
    assert got["rdma"] == {"d": {"hca_handles": 3, "hca_objects": None}}
    assert got["unified"] == {"memory.high": "5"}
    assert (got["Systemd"], got["Rootless"]) == (False, False)


def test_a_path_takes_the_place_of_the_name():
    got = cgroups.record({"path": "/a/b"}, {})
    assert got["path"] == "/a/b"
    assert "name" not in got
    assert got["pids_limit"] is None


def test_there_and_back():
    assert cgroups.resources(cgroups.record({"path": "/a"}, RESOURCES)) == RESOURCES
    assert cgroups.resources(cgroups.record({"path": "/a"}, {})) == {}


def test_facade_knows_its_functions():
    for names in cgroups._HOMES.values():
        for name in names:
            assert callable(getattr(cgroups, name))
    assert not hasattr(cgroups, "nonsense")
