//! What the shim wrote down, in order.

use super::ACKNOWLEDGED;

/// A change that a process made in the watched directory.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Made {
        name: String,
        inode: u64,
    },
    Written {
        inode: u64,
        offset: u64,
        data: Vec<u8>,
        durable: bool,
    },
    Resized {
        inode: u64,
        bytes: u64,
    },
    Synced {
        inode: u64,
    },
    SyncedDirectory,
    Renamed {
        from: String,
        to: String,
    },
    Removed {
        name: String,
    },
    /// The child promised what goes with this number.
    Acknowledged(i64),
}

/// Reads the records of `io.c`, which has their layout.
pub fn parse(mut log: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !log.is_empty() {
        let kind = take(&mut log, 1)[0];
        let durable = take(&mut log, 1)[0] != 0;
        let name_length = usize::from(u16::from_le_bytes(array(take(&mut log, 2))));
        let inode = u64::from_le_bytes(array(take(&mut log, 8)));
        let offset = u64::from_le_bytes(array(take(&mut log, 8)));
        let length = u64::from_le_bytes(array(take(&mut log, 8))) as usize;
        let name = text(take(&mut log, name_length));
        let data = take(&mut log, length);
        if name == ACKNOWLEDGED {
            if kind == 2 {
                events.push(Event::Acknowledged(i64::from_le_bytes(array(data))));
            }
            continue;
        }
        events.push(match kind {
            1 => Event::Made { name, inode },
            2 => Event::Written { inode, offset, data: data.to_vec(), durable },
            3 => Event::Resized { inode, bytes: offset },
            4 => Event::Synced { inode },
            5 => Event::SyncedDirectory,
            6 => Event::Renamed { from: name, to: text(data) },
            7 => Event::Removed { name },
            other => panic!("a record of kind {other}"),
        });
    }
    events
}

fn take<'l>(log: &mut &'l [u8], bytes: usize) -> &'l [u8] {
    let (head, tail) = log.split_at_checked(bytes).expect("a whole record");
    *log = tail;
    head
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("a number of that size")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("a name")
}
