//! Files and folders that only their owner may read, created without following a symbolic link.
//!
//! A file is created with its permissions, so that no other user can open it before they are set.
#![expect(clippy::disallowed_methods, reason = "names of partial files are random")]

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::mem::ManuallyDrop;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::process::geteuid;

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// The permissions of the group and of others.
const OTHERS: u32 = 0o077;

/// A step of [`replace`], which tests observe.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    SyncFile,
    Rename,
    SyncFolder,
}

#[cfg(test)]
thread_local! {
    pub(crate) static STEPS: std::cell::RefCell<Vec<Step>> = const { std::cell::RefCell::new(Vec::new()) };
    /// The error of each hard link by this thread.
    pub(crate) static LINK_ERROR: std::cell::Cell<Option<rustix::io::Errno>> = const { std::cell::Cell::new(None) };
    /// The error of each rename by this thread that must not replace a file.
    pub(crate) static RENAME_ERROR: std::cell::Cell<Option<rustix::io::Errno>> = const { std::cell::Cell::new(None) };
}

/// Creates a folder and its missing parents. Removes the permissions of other users from the folder, and
/// from its files whose names are `ours`. Parents that exist do not change.
///
/// # Errors
/// An I/O error.
pub fn create_folder(folder: &Path, ours: impl Fn(&str) -> bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    tighten(&folder.canonicalize()?);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&ours) {
            tighten(&entry.path());
        }
    }
    Ok(())
}

/// Opens a file for reading and writing, and creates it if it does not exist. Its content stays.
///
/// # Errors
/// An I/O error, or the path is a symbolic link or no regular file.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))
}

/// Creates a file for appending, which must not exist.
///
/// # Errors
/// An I/O error, or the path exists, also as a symbolic link.
pub fn create_new(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().append(true).create_new(true))
}

/// Reads a file.
///
/// # Errors
/// An I/O error, or the path is a symbolic link or no regular file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path, OpenOptions::new().read(true))?.read_to_end(&mut content)?;
    Ok(content)
}

/// Replaces a file by a new one with the content that `write` writes. A crash or a power loss leaves the
/// complete old file, or the complete new one.
///
/// # Errors
/// An I/O error, or the temporary file `….new` is a symbolic link; the old file stays.
pub fn replace<T>(path: &Path, write: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // A crash may have left it.
    if new.symlink_metadata().is_ok_and(|found| found.is_file()) {
        std::fs::remove_file(&new)?;
    }
    let file = create_new(&new)?;
    let written = write(&file).and_then(|written| {
        file.sync_all()?;
        note_sync_file();
        std::fs::rename(&new, path)?;
        note_rename();
        Ok(written)
    });
    let written = written.inspect_err(|_| {
        // The disk may be full.
        std::fs::remove_file(&new).ok();
    })?;
    sync_folder_of(path)?;
    Ok(written)
}

/// Syncs the folder of a file, so that the names in it survive a power loss.
///
/// # Errors
/// An I/O error.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    note_sync_folder();
    Ok(())
}

/// Creates an empty file, if there is none. Closes no descriptor of the file after it has its name: that
/// would release the locks that other threads hold on it by `fcntl`.
///
/// # Errors
/// An I/O error, or the path is a symbolic link to nothing.
pub fn create_empty(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_symlink() && !path.exists() => return Err(link_error(path)),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let new: PathBuf = path.with_file_name(name);
    drop(create_new(&new)?);
    if give_name(&new, path).is_ok() {
        return Ok(());
    }
    // The file system has neither way. The descriptor stays open until the process ends.
    match create_new(path) {
        Ok(file) => {
            let _open = ManuallyDrop::new(file);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Gives a complete file its name; returns false if another file has that name. Removes `new` in any case,
/// also after an error. Without hard links the file is renamed.
///
/// # Errors
/// An I/O error, or the file system has no way to name a file without replacing another one.
pub fn give_name(new: &Path, path: &Path) -> io::Result<bool> {
    let named = match hard_link(new, path) {
        Err(error) if !is_about_names(&error) => rename_new(new, path),
        linked => linked,
    };
    match std::fs::remove_file(new) {
        // It was renamed, or another process has removed it.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match named {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_about_names(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound)
}

/// Gives a file a second name.
///
/// # Errors
/// An error of the file system, such as one without hard links.
pub fn hard_link(path: &Path, second: &Path) -> io::Result<()> {
    #[cfg(test)]
    if let Some(error) = LINK_ERROR.get() {
        return Err(error.into());
    }
    std::fs::hard_link(path, second)
}

fn rename_new(new: &Path, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if let Some(error) = RENAME_ERROR.get() {
        return Err(error.into());
    }
    Ok(rustix::fs::renameat_with(CWD, new, CWD, path, RenameFlags::NOREPLACE)?)
}

/// Removes the permissions of other users from a file or folder that this user owns. A symbolic link does
/// not change.
pub fn tighten(path: &Path) {
    let tightened = path.symlink_metadata().and_then(|found| {
        let own = found.uid() == geteuid().as_raw() && !found.is_symlink();
        if !own || found.mode() & OTHERS == 0 {
            return Ok(());
        }
        std::fs::set_permissions(path, Permissions::from_mode(found.mode() & FOLDER_MODE))
    });
    match tightened {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let path = path.display();
            tracing::warn!(code = "file_mode", %path, %error, "other users may read this file");
        }
        Ok(()) | Err(_) => {}
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Without NONBLOCK, a pipe with this name would block the call.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = options.mode(FILE_MODE).custom_flags(flags).open(path);
    let file = opened.map_err(|error| {
        let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
        if is_link { link_error(path) } else { error }
    })?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let cause = format!("{} is not a regular file: remove it", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, cause))
}

fn link_error(path: &Path) -> io::Error {
    let cause = format!("{} is a symbolic link, which is not followed: remove it", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, cause)
}

fn note_sync_file() {
    #[cfg(test)]
    STEPS.with_borrow_mut(|steps| steps.push(Step::SyncFile));
}

fn note_rename() {
    #[cfg(test)]
    STEPS.with_borrow_mut(|steps| steps.push(Step::Rename));
}

fn note_sync_folder() {
    #[cfg(test)]
    STEPS.with_borrow_mut(|steps| steps.push(Step::SyncFolder));
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use rustix::io::Errno;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn m11_a_folder_and_its_files_become_private_and_new_ones_are_made_so() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let ours = |name: &str| name != "theirs";
        create_folder(&folder, ours).unwrap();
        assert_eq!([mode(&root.path().join("a")), mode(&folder)], [0o700, 0o700]);
        let (old, theirs) = (folder.join("old"), folder.join("theirs"));
        for file in [&old, &theirs] {
            std::fs::write(file, "x").unwrap();
            std::fs::set_permissions(file, Permissions::from_mode(0o664)).unwrap();
        }
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        // The folder may be named by a link, and a link in it may lead to a file of others.
        let (named, victim) = (root.path().join("named"), root.path().join("victim"));
        symlink(&folder, &named).unwrap();
        std::fs::write(&victim, "v").unwrap();
        std::fs::set_permissions(&victim, Permissions::from_mode(0o644)).unwrap();
        symlink(&victim, folder.join("link")).unwrap();
        create_folder(&named, ours).unwrap();
        assert_eq!([mode(&folder), mode(&old)], [0o700, 0o600]);
        assert_eq!([mode(&theirs), mode(&victim)], [0o664, 0o644]);
        for (name, file) in [
            ("new", create_new(&folder.join("new"))),
            ("both", open_or_create(&folder.join("both"))),
        ] {
            drop(file.unwrap());
            assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
        }
        create_empty(&folder.join("empty")).unwrap();
        replace(&folder.join("replaced"), |mut file| file.write_all(b"y")).unwrap();
        assert_eq!([mode(&folder.join("empty")), mode(&folder.join("replaced"))], [0o600, 0o600]);
    }

    #[test]
    fn l10_a_link_or_a_pipe_in_place_of_a_file_is_refused_and_nothing_is_changed() {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        std::fs::write(&victim, "victim").unwrap();
        let nothing = root.path().join("nothing");
        for target in [&victim, &nothing] {
            let link = root.path().join("link");
            symlink(target, &link).unwrap();
            symlink(target, root.path().join("file.new")).unwrap();
            let errors = [
                open_or_create(&link).unwrap_err(),
                create_new(&link).unwrap_err(),
                read(&link).unwrap_err(),
                replace(&root.path().join("file"), |mut file| file.write_all(b"x")).unwrap_err(),
            ];
            for error in errors {
                assert!(error.to_string().contains("is a symbolic link"), "{error}");
            }
            // A link store may be a link to a file that exists.
            assert_eq!(create_empty(&link).is_err(), *target == nothing);
            std::fs::remove_file(&link).unwrap();
            std::fs::remove_file(root.path().join("file.new")).unwrap();
        }
        assert_eq!(std::fs::read(&victim).unwrap(), b"victim");
        assert!(!nothing.exists() && !root.path().join("file").exists());
        let pipe = root.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for error in [open_or_create(&pipe).unwrap_err(), read(&pipe).unwrap_err()] {
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
        // A link under the name of the file is replaced, and its target stays.
        let file = root.path().join("file");
        symlink(&victim, &file).unwrap();
        replace(&file, |mut file| file.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(std::fs::read(&victim).unwrap(), b"victim");
    }

    #[test]
    fn a_stale_temporary_file_is_replaced_and_a_failed_write_keeps_the_old_file() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(root.path().join("file.new"), "left by a crash").unwrap();
        replace(&file, |mut file| file.write_all(b"one")).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"one");
        let failed = replace(&file, |mut file| {
            file.write_all(b"partial")?;
            Err::<(), _>(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read(&file).unwrap(), b"one");
        assert!(!root.path().join("file.new").exists());
    }

    #[test]
    fn a_file_gets_its_name_on_any_file_system_and_replaces_no_other() {
        let root = tempfile::tempdir().unwrap();
        let (new, path) = (root.path().join("new"), root.path().join("file"));
        let ways = [(None, None), (Some(Errno::PERM), None), (Some(Errno::NOSPC), None)];
        for (link, rename) in ways {
            LINK_ERROR.set(link);
            RENAME_ERROR.set(rename);
            std::fs::write(&new, "first").unwrap();
            assert!(give_name(&new, &path).unwrap());
            std::fs::write(&new, "second").unwrap();
            assert!(!give_name(&new, &path).unwrap(), "{link:?}");
            assert_eq!((std::fs::read(&path).unwrap(), new.exists()), (b"first".to_vec(), false));
            std::fs::remove_file(&path).unwrap();
        }
        // Neither way: an error, or an empty file that is made in place.
        RENAME_ERROR.set(Some(Errno::INVAL));
        std::fs::write(&new, "first").unwrap();
        assert!(give_name(&new, &path).is_err() && !new.exists() && !path.exists());
        for _ in 0..2 {
            create_empty(&path).unwrap();
            assert_eq!((mode(&path), std::fs::read(&path).unwrap()), (0o600, Vec::new()));
        }
        LINK_ERROR.set(None);
        RENAME_ERROR.set(None);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "no file is left over");
    }
}
