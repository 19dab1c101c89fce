use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some("default".to_owned()),
        name: name.to_owned(),
    }
}

fn applied(name: &str, version: &str) -> Applied {
    Applied {
        key: key(name),
        operation: "0198c5b0-0000-7000-8000-000000000001".parse().unwrap(),
        version: version.to_owned(),
        fields: Vec::new(),
    }
}

fn names(memory: &Memory) -> Vec<String> {
    let mut names: Vec<String> =
        memory.all().into_iter().map(|known| format!("{}@{}", known.key.name, known.version)).collect();
    names.sort();
    names
}

#[test]
fn what_is_noted_outlives_the_process_and_what_is_taken_back_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("drift");
    let memory = Memory::open(path.clone()).unwrap();
    assert!(memory.is_new && !path.exists());
    let digests = memory.digests().unwrap();
    memory.note(vec![applied("a", "1"), applied("b", "2"), applied("c", "3")]).unwrap();
    memory.note(vec![applied("b", "9")]).unwrap();
    // Of another version, and without its namespace.
    let other = ObjectKey { api_version: "apps/v1beta1".to_owned(), namespace: None, ..key("a") };
    memory.forget(&[Gone::alone(other), Gone::removed(key("never"), None)]).unwrap();
    assert_eq!(names(&memory), ["b@9", "c@3"]);
    assert_eq!(memory.read(&key("b")).unwrap().unwrap(), applied("b", "9"));
    assert_eq!(*memory.changes().borrow(), 3);

    let again = Memory::open(path.clone()).unwrap();
    assert!(!again.is_new);
    assert_eq!(names(&again), ["b@9", "c@3"]);
    assert_eq!(again.read(&key("c")).unwrap().unwrap(), applied("c", "3"));
    assert_eq!(again.digests().unwrap().0, digests.0);
    for entry in std::fs::read_dir(&path).unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn all_is_forgotten_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path().join("drift")).unwrap();
    memory.clear().unwrap();
    assert!(!memory.is_used());
    memory.digests().unwrap();
    memory.note(vec![applied("a", "1"), applied("b", "2")]).unwrap();
    memory.clear().unwrap();
    assert!(memory.is_used() && memory.len() == 0);
    memory.note(vec![applied("c", "3")]).unwrap();
    let again = Memory::open(folder.path().join("drift")).unwrap();
    assert_eq!(names(&again), ["c@3"]);
    assert_eq!(again.read(&key("c")).unwrap().unwrap(), applied("c", "3"));
}

#[test]
fn a_cut_line_is_dropped_and_garbage_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path().to_owned()).unwrap();
    memory.digests().unwrap();
    memory.note(vec![applied("a", "1"), applied("b", "2")]).unwrap();
    let path = folder.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let again = Memory::open(folder.path().to_owned()).unwrap();
        assert!(again.len() <= 1);
        again.note(vec![applied("c", "3")]).unwrap();
        assert_eq!(again.read(&key("c")).unwrap().unwrap().version, "3");
    }
    let garbage = [b"{}\nnull\n\xff\n".as_slice(), &whole].concat();
    std::fs::write(&path, garbage).unwrap();
    assert_eq!(names(&Memory::open(folder.path().to_owned()).unwrap()), ["a@1", "b@2"]);
}

#[test]
fn the_file_and_the_list_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path().to_owned()).unwrap();
    for version in 0..4_000 {
        memory.note(vec![applied("a", &version.to_string()), applied("b", "1")]).unwrap();
    }
    let line = line(&Line::Applied(applied("a", "4000"))).unwrap().len();
    let length = std::fs::metadata(folder.path().join(FILE)).unwrap().len();
    assert!(length <= ((SPARE_LINES + 8) * line) as u64, "{length}");
    assert_eq!(names(&memory), ["a@3999", "b@1"]);
    assert_eq!(memory.read(&key("b")).unwrap().unwrap(), applied("b", "1"));

    let many = (0..OBJECTS_MAX).map(|number| applied(&format!("n-{number}"), "1")).collect();
    memory.note(many).unwrap();
    assert_eq!((memory.len(), memory.left_out()), (OBJECTS_MAX, 2));
    // What is known already is noted all the same.
    memory.note(vec![applied("a", "5000")]).unwrap();
    assert_eq!(memory.find(&key("a")).unwrap().version, "5000");
}

#[test]
fn regression_what_was_in_a_removed_namespace_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path().to_owned()).unwrap();
    memory.digests().unwrap();
    let mut elsewhere = applied("elsewhere", "1");
    elsewhere.key.namespace = Some("shop".to_owned());
    memory.note(vec![applied("a", "1"), elsewhere, applied("b", "1")]).unwrap();
    let namespace = ObjectKey {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: None,
        name: "default".to_owned(),
    };
    memory.forget(&[Gone::removed(namespace, None)]).unwrap();
    assert_eq!(names(&memory), ["elsewhere@1"]);
    assert_eq!(names(&Memory::open(folder.path().to_owned()).unwrap()), ["elsewhere@1"]);
}

/// The machine dies while the key is written, or somebody removes it.
#[test]
fn regression_a_torn_key_does_not_end_the_watching() {
    for key in [None, Some(b"".as_slice()), Some(b"half of it".as_slice())] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEY);
        let memory = Memory::open(folder.path().to_owned()).unwrap();
        memory.digests().unwrap();
        memory.note(vec![applied("a", "1")]).unwrap();
        match key {
            Some(key) => std::fs::write(&path, key).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        // The digests say nothing without their key. The hub is told, whenever that may be.
        let again = Memory::open(folder.path().to_owned()).unwrap();
        assert!(again.len() == 0 && again.is_used() && !again.is_new, "{key:?}");
        let digests = again.digests().unwrap();
        again.note(vec![applied("b", "2")]).unwrap();
        let later = Memory::open(folder.path().to_owned()).unwrap();
        assert_eq!(names(&later), ["b@2"]);
        assert_eq!(later.digests().unwrap().0, digests.0);
        assert!(!folder.path().join(FRESH_KEY).exists());
    }
    // Nothing was remembered yet: no reason to stay away.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(KEY), "torn").unwrap();
    Memory::open(folder.path().to_owned()).unwrap().digests().unwrap();
}

/// The disk is full: what is there now is not what was remembered, and whoever watches learns so at once.
#[test]
fn regression_what_cannot_be_written_is_not_remembered_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path().to_owned()).unwrap();
    memory.digests().unwrap();
    memory.note(vec![applied("a", "1"), applied("b", "1"), applied("c", "1")]).unwrap();
    let changes = memory.changes();
    let before = *changes.borrow();
    let writable = memory.lock().file.replace(File::open(folder.path().join(FILE)).unwrap());
    memory.note(vec![applied("a", "2")]).unwrap_err();
    memory.forget(&[Gone::alone(key("b"))]).unwrap_err();
    assert_eq!(names(&memory), ["c@1"]);
    assert_eq!(*changes.borrow(), before + 2);
    memory.lock().file = writable;
    memory.note(vec![applied("d", "1")]).unwrap();
    assert_eq!(names(&memory), ["c@1", "d@1"]);
    assert_eq!(memory.read(&key("d")).unwrap().unwrap(), applied("d", "1"));
    // Nor by the next process: once there was room, the file said so.
    let again = Memory::open(folder.path().to_owned()).unwrap();
    assert_eq!(names(&again), ["c@1", "d@1"]);
    assert_eq!(again.read(&key("c")).unwrap().unwrap(), applied("c", "1"));
    assert!(!folder.path().join(FRESH).exists());
}

/// Others have changed everything since, and there is no room to say so.
#[test]
fn regression_what_was_forgotten_at_once_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path().to_owned()).unwrap();
    memory.digests().unwrap();
    memory.note(vec![applied("a", "1"), applied("b", "1")]).unwrap();
    // No file can be made in its place.
    let blocked = folder.path().join(FRESH);
    std::fs::create_dir(&blocked).unwrap();
    memory.clear().unwrap_err();
    assert_eq!(memory.len(), 0);
    std::fs::remove_dir(&blocked).unwrap();
    memory.note(vec![applied("c", "1")]).unwrap();
    assert_eq!(names(&Memory::open(folder.path().to_owned()).unwrap()), ["c@1"]);
}
