use super::*;
use crate::clock;
use crate::local::Limits;
use crate::local::definition::tests::{service, ttl};
use crate::local::files::{FileDefinitions, Placed};
use crate::types::Status;

/// What the wall clock says when a test begins.
const WALL: Duration = Duration::from_secs(1_000_000);

fn core() -> Core {
    let mut core = Core::new(Limits::default(), false, "n1".parse().unwrap(), 7);
    core.restore(clock::now(), WALL, Found::default());
    core
}

fn register(core: &mut Core, port: u16, checks: &[CheckDefinition]) {
    let definition = with_port(port, checks);
    core.register_service(clock::now(), definition, false)
        .unwrap();
}

fn with_port(port: u16, checks: &[CheckDefinition]) -> ServiceDefinition {
    let mut web = service("web", "web");
    web.port = port;
    ServiceDefinition {
        service: web,
        checks: checks.to_vec(),
    }
}

fn id(text: &str) -> CheckId {
    text.parse().unwrap()
}

fn report(core: &mut Core, now: Instant, status: Status, output: &str) {
    let output = output.into();
    core.report(now, &id("service:web"), Report { status, output })
        .unwrap();
}

/// What the disk has of `core`.
fn found(core: &Core, now: Instant) -> Found {
    let mut found = Found::default();
    let records = core.all_registrations().into_iter();
    for record in records.chain(core.all_states(now, WALL)) {
        found.take(record);
    }
    found
}

/// The same agent after a restart; the wall clock has moved on from `WALL` to `wall`.
fn restarted(core: &Core, now: Instant, wall: Duration) -> Core {
    let mut next = Core::new(Limits::default(), false, "n1".parse().unwrap(), 8);
    next.restore(now, wall, found(core, now));
    next
}

fn said(core: &Core) -> (Status, &str) {
    let local = core.state().check(&id("service:web")).unwrap();
    (local.check.status, &local.check.output)
}

fn files(core: &mut Core, services: Vec<ServiceDefinition>) {
    let services = services.into_iter();
    let services = services.map(|definition| Placed {
        place: "web.json:1".into(),
        definition,
    });
    let definitions = FileDefinitions {
        services: services.collect(),
        checks: Vec::new(),
    };
    core.load(clock::now(), &definitions, Limits::default())
        .unwrap();
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_report_holds_for_what_is_left_of_its_time_to_live() {
    let now = clock::now();
    let mut before = core();
    register(&mut before, 80, &[ttl("", 10)]);
    report(&mut before, now, Status::Passing, "well");
    let mut core = restarted(&before, now, WALL + 4 * SECOND);
    assert_eq!(said(&core), (Status::Passing, "well"));
    core.tick(now + 5 * SECOND);
    assert_eq!(said(&core), (Status::Passing, "well"));
    core.tick(now + 7 * SECOND);
    let expired = "TTL expired (last output before timeout follows): well";
    assert_eq!(said(&core), (Status::Critical, expired));
}

#[test]
fn a_report_that_is_too_old_is_expired() {
    let now = clock::now();
    let mut before = core();
    register(&mut before, 80, &[ttl("", 10)]);
    report(&mut before, now, Status::Warning, "so so");
    let core = restarted(&before, now, WALL + 11 * SECOND);
    let expired = "TTL expired (last output before timeout follows): so so";
    assert_eq!(said(&core), (Status::Critical, expired));
}

#[test]
fn a_clock_that_was_set_back_extends_nothing() {
    let now = clock::now();
    let mut before = core();
    register(&mut before, 80, &[ttl("", 10)]);
    report(&mut before, now, Status::Passing, "well");
    let mut core = restarted(&before, now, WALL.saturating_sub(3_600 * SECOND));
    assert_eq!(said(&core).0, Status::Passing);
    core.tick(now + 11 * SECOND);
    assert_eq!(said(&core).0, Status::Critical);
}

#[test]
fn what_was_critical_stays_so() {
    let now = clock::now();
    let mut before = core();
    let passing = CheckDefinition {
        status: Some(Status::Passing),
        ..ttl("", 10)
    };
    register(&mut before, 80, &[passing]);
    before.tick(now + 11 * SECOND);
    assert_eq!(said(&before), (Status::Critical, "TTL expired"));
    let mut core = restarted(&before, now + 11 * SECOND, WALL + 60 * SECOND);
    assert_eq!(said(&core), (Status::Critical, "TTL expired"));
    // And a report brings it back.
    report(&mut core, now + 12 * SECOND, Status::Passing, "back");
    assert_eq!(said(&core), (Status::Passing, "back"));
}

#[test]
fn a_check_that_runs_keeps_its_status_until_its_first_run() {
    let settings = crate::health::Settings {
        tcp: "127.0.0.1:1".into(),
        interval: 10 * SECOND,
        ..Default::default()
    };
    let mechanism = Mechanism::checked(settings).unwrap();
    let mut found = Found::default();
    let check = Arc::new(CheckDefinition {
        name: "port".into(),
        ..CheckDefinition::new(mechanism)
    });
    found.take(Record::Check(id("service:web"), check));
    let report = Report {
        status: Status::Passing,
        output: "open".into(),
    };
    let until = None;
    found.take(Record::State(id("service:web"), Known { report, until }));
    let now = clock::now();
    let mut core = Core::new(Limits::default(), false, "n1".parse().unwrap(), 7);
    core.restore(now, WALL, found);
    assert_eq!(said(&core), (Status::Passing, "open"));
    core.tick(now + 11 * SECOND);
    let start = core.take_turn(crate::local::turns::Weight::Light).unwrap();
    let refused = Report {
        status: Status::Critical,
        output: "closed".into(),
    };
    core.end_run(now, &start.turn.id, start.turn.number, Some(refused));
    assert_eq!(said(&core), (Status::Critical, "closed"));
}

#[test]
fn maintenance_survives() {
    let now = clock::now();
    let mut before = core();
    register(&mut before, 80, &[]);
    before.node_maintenance(now, Some("disks"));
    let web = "web".parse().unwrap();
    before.service_maintenance(now, &web, Some("")).unwrap();
    let mut core = restarted(&before, now, WALL);
    let node = core.state().check(&id("_node_maintenance")).unwrap();
    assert_eq!(
        (node.check.status, &*node.check.notes),
        (Status::Critical, "disks")
    );
    let of_service = id("_service_maintenance:web");
    assert!(
        core.state()
            .check(&of_service)
            .unwrap()
            .check
            .is_maintenance()
    );
    core.service_maintenance(now, &web, None).unwrap();
    let core = restarted(&core, now, WALL);
    assert!(core.state().check(&of_service).is_none());
}

#[test]
fn files_win_and_their_services_get_the_checks_that_were_added_over_http() {
    let now = clock::now();
    let mut before = core();
    register(&mut before, 80, &[]);
    // Now the files define it, too.
    let mut core = restarted(&before, now, WALL);
    files(&mut core, vec![with_port(81, &[])]);
    let port = |core: &Core| core.state().service(&"web".parse().unwrap()).unwrap().port;
    assert_eq!(port(&core), 81);
    let none = core.take_changes(now, WALL).registrations;
    assert_eq!(none, [Record::NoService("web".parse().unwrap())]);
    let added = CheckDefinition {
        name: "added".into(),
        service_id: Some("web".parse().unwrap()),
        ..ttl("added", 10)
    };
    core.register_check(now, added).unwrap();
    let kept = core.all_registrations();
    assert!(matches!(kept.as_slice(), [Record::Check(check, _)] if *check == id("added")));
    let mut core = restarted(&core, now, WALL);
    assert!(core.state().check(&id("added")).is_none());
    files(&mut core, vec![with_port(82, &[])]);
    assert_eq!(port(&core), 82);
    assert!(core.state().check(&id("added")).is_some());
    // Without the service there is nothing to check.
    let mut core = restarted(&core, now, WALL);
    files(&mut core, Vec::new());
    assert!(core.state().check(&id("added")).is_none());
    let changes = core.take_changes(now, WALL).registrations;
    assert_eq!(changes, [Record::NoCheck(id("added"))]);
}

#[test]
fn what_is_planned_is_what_comes_of_it() {
    let now = clock::now();
    let mut core = core();
    let first = with_port(80, &[ttl("", 10), ttl("own", 20)]);
    let plan = core.plan_service(&first, false).unwrap();
    core.register_service(now, first, false).unwrap();
    core.settle(&plan);
    assert!(core.take_changes(now, WALL).registrations.is_empty());
    let second = with_port(81, &[ttl("own", 30)]);
    let plan = core.plan_service(&second, true).unwrap();
    assert!(plan.contains(&Record::NoCheck(id("service:web:1"))));
    core.register_service(now, second, true).unwrap();
    core.settle(&plan);
    assert!(core.take_changes(now, WALL).registrations.is_empty());
    let web = "web".parse().unwrap();
    let plan = core.plan_no_service(&web).unwrap();
    core.deregister_service(&web).unwrap();
    core.settle(&plan);
    let changes = core.take_changes(now, WALL);
    assert!(changes.registrations.is_empty());
    let gone = changes.states.iter();
    assert!(gone.clone().count() > 0);
    assert!(
        gone.clone()
            .all(|record| matches!(record, Record::NoState(_)))
    );
}

#[test]
fn what_was_kept_but_not_carried_out_is_put_right() {
    let now = clock::now();
    let mut core = core();
    let plan = core.plan_service(&with_port(80, &[ttl("", 10)]), false);
    core.settle(&plan.unwrap());
    let changes = core.take_changes(now, WALL).registrations;
    let expected = [
        Record::NoService("web".parse().unwrap()),
        Record::NoCheck(id("service:web")),
    ];
    assert_eq!(changes, expected);
}

#[test]
fn a_service_that_was_removed_for_its_check_is_not_kept() {
    let now = clock::now();
    let mut core = core();
    let reaped = CheckDefinition {
        status: Some(Status::Critical),
        deregister_critical_service_after: Some(60 * SECOND),
        ..ttl("", 10)
    };
    register(&mut core, 80, &[reaped]);
    drop(core.take_changes(now, WALL));
    core.tick(now + 61 * SECOND);
    let changes = core.take_changes(now, WALL).registrations;
    assert!(changes.contains(&Record::NoService("web".parse().unwrap())));
    assert!(core.all_registrations().is_empty());
}

#[test]
fn programs_that_are_no_longer_allowed_do_not_come_back() {
    let now = clock::now();
    let limits = Limits {
        enable_script_checks: true,
        ..Limits::default()
    };
    let mut before = Core::new(limits, false, "n1".parse().unwrap(), 7);
    before.restore(now, WALL, Found::default());
    let settings = crate::health::Settings {
        args: vec!["true".into()],
        interval: 10 * SECOND,
        ..Default::default()
    };
    let program = CheckDefinition::new(Mechanism::checked(settings).unwrap());
    register(&mut before, 80, &[program]);
    let core = restarted(&before, now, WALL);
    assert!(core.state().service(&"web".parse().unwrap()).is_some());
    assert!(core.state().check(&id("service:web")).is_none());
}
