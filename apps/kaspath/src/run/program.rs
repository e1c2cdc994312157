//! Which file is kaspad.

use std::{
    env,
    fs::Metadata,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

const CURE: &str = "install it with `cargo install kaspad --locked`, or give its full path after `--`";

/// The file that `program` names, as a shell would find it; else the one beside this
/// program, as after `./install` in a shell that has not read its profile again.
pub(crate) fn locate(program: &str) -> Result<String> {
    let beside = env::current_exe().ok().and_then(|this| this.parent().map(Path::to_path_buf));
    find(program, env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default(), beside)
}

fn find(program: &str, path: Vec<PathBuf>, beside: Option<PathBuf>) -> Result<String> {
    if program.contains('/') {
        return match Path::new(program).metadata() {
            Ok(metadata) if is_program(&metadata) => Ok(program.to_owned()),
            Ok(_) => bail!("cannot run {program}: it is not an executable file"),
            Err(error) => bail!("cannot run {program}: {error}; {CURE}"),
        };
    }
    let files = path.iter().chain(beside.iter()).map(|dir| dir.join(program));
    let found = files.into_iter().find(|file| file.metadata().is_ok_and(|metadata| is_program(&metadata)));
    match found {
        Some(file) => Ok(file.display().to_string()),
        None => bail!("cannot run {program}: it is neither on the PATH nor beside this program; {CURE}"),
    }
}

fn is_program(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_does_or_the_error_names_the_cure() {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [first, second] = [0, 1].map(|n: usize| dirs[n].path().to_path_buf());
        let program = second.join("kaspad");
        fs::write(&program, "").unwrap();
        // A text of that name is not the program.
        fs::write(first.join("kaspad"), "").unwrap();
        let missing = find("kaspad", vec![first.clone(), second.clone()], None).unwrap_err().to_string();
        assert!(missing.contains("neither on the PATH") && missing.contains("cargo install kaspad"), "{missing}");
        let text = find(program.to_str().unwrap(), vec![], None).unwrap_err().to_string();
        assert!(text.contains("not an executable"), "{text}");

        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let expected = program.display().to_string();
        assert_eq!(find("kaspad", vec![first.clone(), second.clone()], None).unwrap(), expected);
        assert_eq!(find("kaspad", vec![first.clone()], Some(second)).unwrap(), expected);
        assert_eq!(find(&expected, vec![], None).unwrap(), expected);
        let nowhere = find("/nonexistent/kaspad", vec![], None).unwrap_err().to_string();
        assert!(nowhere.contains("cannot run /nonexistent/kaspad") && nowhere.contains("cargo install"), "{nowhere}");
    }
}
