//! `presence` against the obvious model.

use std::collections::HashMap;

use otp_core_rs::presence::PresenceTable;
use proptest::prelude::*;

const DEVICES: [&str; 4] = [
    "00000000000000000000000000000001",
    "0000000000000000000000000000000A",
    "+0000000000000000000000000000001",
    "meter-7",
];

#[derive(Debug, Clone)]
enum Step {
    Arrive(u64, usize, bool),
    Leave(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u64..12, 0..DEVICES.len(), any::<bool>()).prop_map(|(c, d, a)| Step::Arrive(c, d, a)),
        (0_u64..12).prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn it_is_a_list_of_arrivals(steps in steps()) {
        let mut table = PresenceTable::default();
        let mut model: Vec<(u64, usize, bool, i64)> = Vec::new();
        for (now, step) in (0_i64..).zip(steps) {
            match step {
                Step::Arrive(connection, device, held) => {
                    let address = held.then_some("192.0.2.1");
                    if held {
                        table.hold("192.0.2.1");
                    }
                    table.arrive(connection, DEVICES[device], address, now);
                    model.retain(|row| row.0 != connection);
                    model.push((connection, device, held, now));
                }
                Step::Leave(connection) => {
                    let known = model.iter().any(|row| row.0 == connection);
                    prop_assert_eq!(table.leave(connection), known);
                    model.retain(|row| row.0 != connection);
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for (number, device) in DEVICES.iter().enumerate() {
                let rows: Vec<_> = model.iter().filter(|row| row.1 == number).collect();
                let connections: Vec<u64> = rows.iter().map(|row| row.0).collect();
                prop_assert_eq!(table.connections_of(device), connections);
                prop_assert_eq!(table.since_ms(device), rows.first().map(|row| row.3));
            }
            let devices: HashMap<u64, &str> =
                model.iter().map(|row| (row.0, DEVICES[row.1])).collect();
            for connection in 0..12 {
                let device = table.device_of(connection);
                prop_assert_eq!(device.as_deref(), devices.get(&connection).copied());
            }
            let held = model.iter().filter(|row| row.2).count();
            prop_assert_eq!(table.hold("192.0.2.1") as usize, held + 1);
            table.release("192.0.2.1");
        }
    }
}
