"""Drives an agent through python-consul or py-consul, whichever PYTHONPATH leads to.

Usage: consul_client.py HOST PORT. Ends with status 0 and a line "N groups passed" if each call of
the groups that herald offers gave what the client's users rely on.
"""

import sys
import threading
import time

import consul

HOST, PORT = sys.argv[1], int(sys.argv[2])
c = consul.Consul(host=HOST, port=PORT)
NODE = c.agent.self()["Config"]["NodeName"]


def raises(error, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except error:
        return
    raise AssertionError("%r did not raise %r" % (call, error))


def instances(name, **named):
    _, found = c.health.service(name, **named)
    return sorted(entry["Service"]["ID"] for entry in found)


def agent():
    me = c.agent.self()
    assert me["Config"]["Datacenter"] == "dc1", me["Config"]
    assert me["Member"]["Name"] == NODE
    assert [member["Name"] for member in c.agent.members()] == [NODE]
    assert c.agent.services() == {}
    assert c.agent.checks() == {}


def status():
    leader = c.status.leader()
    host, port = leader.rsplit(":", 1)
    assert host and int(port) > 0, leader
    assert c.status.peers() == [leader]


def service():
    assert c.agent.service.register(
        "web", service_id="web-1", address="10.0.0.1", port=80, tags=["v1", "blue"],
        check=consul.Check.ttl("60s"),
    )
    registered = c.agent.services()["web-1"]
    assert registered["Service"] == "web" and registered["Port"] == 80, registered
    assert registered["Tags"] == ["v1", "blue"]
    assert c.agent.checks()["service:web-1"]["Status"] == "critical"
    assert instances("web") == ["web-1"]
    assert instances("web", passing=True) == []


def ttl():
    for call, state in [
        (c.agent.check.ttl_warn, "warning"),
        (c.agent.check.ttl_fail, "critical"),
        (c.agent.check.ttl_pass, "passing"),
    ]:
        assert call("service:web-1", "as told")
        check = c.agent.checks()["service:web-1"]
        assert (check["Status"], check["Output"]) == (state, "as told"), check
    assert instances("web", passing=True) == ["web-1"]
    assert instances("web", passing=True, tag="v1") == ["web-1"]
    assert instances("web", tag="green") == []
    # 404 is False to these clients, other errors raise.
    assert c.agent.check.ttl_pass("service:nobody") is False
    raises(consul.ConsulException, c.health.service, "web", index="-1")


def checks():
    assert c.agent.check.register("disk", check=consul.Check.ttl("60s"))
    assert c.agent.check.register(
        "extra", check=consul.Check.ttl("60s"), check_id="web-extra", service_id="web-1"
    )
    assert c.agent.check.ttl_pass("web-extra")
    _, of_service = c.health.checks("web")
    assert {check["CheckID"] for check in of_service} == {"service:web-1", "web-extra"}
    assert c.agent.check.ttl_pass("disk")
    _, of_node = c.health.node(NODE)
    assert {"disk", "serfHealth"} <= {check["CheckID"] for check in of_node}
    _, passing = c.health.state("passing")
    assert {"disk", "web-extra"} <= {check["CheckID"] for check in passing}
    assert c.agent.check.deregister("disk")
    assert c.agent.check.deregister("web-extra")
    assert set(c.agent.checks()) == {"service:web-1"}


def blocking():
    index, before = c.health.service("web", passing=True)
    assert int(index) > 0 and len(before) == 1
    # Nothing changes: the same index comes back after the wait.
    start = time.monotonic()
    again, _ = c.health.service("web", passing=True, index=index, wait="1s")
    assert again == index, (again, index)
    assert time.monotonic() - start >= 1
    # A change wakes the wait long before its end.
    failing = threading.Timer(0.3, lambda: c.agent.check.ttl_fail("service:web-1", "down"))
    failing.start()
    start = time.monotonic()
    woken, after = c.health.service("web", passing=True, index=index, wait="50s")
    failing.join()
    assert time.monotonic() - start < 40
    assert int(woken) > int(index) and after == [], (woken, index, after)
    assert c.agent.check.ttl_pass("service:web-1")


def maintenance():
    assert c.agent.service.maintenance("web-1", True, "repair")
    assert instances("web", passing=True) == []
    notes = c.agent.checks()["_service_maintenance:web-1"]["Notes"]
    assert notes == "repair", notes
    assert c.agent.service.maintenance("web-1", False)
    assert c.agent.maintenance(True, "whole node")
    assert instances("web", passing=True) == []
    assert c.agent.maintenance(False)
    assert instances("web", passing=True) == ["web-1"]


def catalog():
    assert c.catalog.register(
        "away", "10.9.9.9",
        service={"Service": "db", "ID": "db-1", "Port": 5432, "Tags": ["primary"]},
        check={"Node": "away", "CheckID": "db", "Name": "db", "Status": "passing",
               "ServiceID": "db-1"},
    ) is True
    assert c.catalog.datacenters() == ["dc1"]
    _, nodes = c.catalog.nodes()
    assert [node["Node"] for node in nodes] == sorted(["away", NODE])
    _, services = c.catalog.services()
    assert services["db"] == ["primary"] and sorted(services["web"]) == ["blue", "v1"]
    _, rows = c.catalog.service("db", tag="primary")
    assert [(row["Node"], row["ServicePort"]) for row in rows] == [("away", 5432)]
    _, node = c.catalog.node("away")
    assert list(node["Services"]) == ["db-1"]
    assert instances("db", passing=True) == ["db-1"]
    assert c.catalog.deregister("away", check_id="db")
    assert c.catalog.deregister("away", service_id="db-1")
    assert instances("db") == []
    assert c.catalog.deregister("away")
    index, node = c.catalog.node("away")
    assert node is None and int(index) > 0


def rename_and_deregister():
    assert c.agent.service.register("api", service_id="web-1", port=81)
    assert instances("web") == [] and instances("api") == ["web-1"]
    assert c.agent.service.deregister("web-1")
    assert c.agent.services() == {} and c.agent.checks() == {}
    assert instances("api") == []


GROUPS = [agent, status, service, ttl, checks, blocking, maintenance, catalog,
          rename_and_deregister]
for group in GROUPS:
    group()
print("%d groups passed" % len(GROUPS))
