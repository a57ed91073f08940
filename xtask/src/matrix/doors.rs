//! What stands before the upstream: the guard, nginx, haproxy, each a process of its own with the configuration that is usual
//! for WebSockets and one path that it must refuse. Each ends with its owner.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::setup;
use crate::sh::{self, Result, free_port};

pub(super) struct Door {
    name: String,
    child: Child,
    port: u16,
}

impl Door {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn guard(binary: &Path, upstream: u16, folder: &Path) -> Result<Self> {
        let policy = folder.join("guard.toml");
        fs::write(&policy, "[[routes]]\nname = \"ws\"\nprefix = \"/ws\"\n")?;
        let port = free_port()?;
        let mut command = Command::new(binary);
        command
            .args(["guard", "--admin", "off", "--log", "warn"])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args([
                "--upstream",
                &format!("ws://127.0.0.1:{upstream}"),
                "--policy",
            ])
            .arg(policy);
        Self::start("tidegate guard".to_owned(), command, port, folder)
    }

    pub(super) fn nginx(upstream: u16, folder: &Path) -> Result<Self> {
        let program = setup::proxy("nginx").ok_or("there is no nginx")?;
        let (port, file) = (free_port()?, folder.join("nginx.conf"));
        let text = NGINX
            .replace("FOLDER", &folder.display().to_string())
            .replace("UPSTREAM", &upstream.to_string())
            .replace("PORT", &port.to_string());
        fs::write(&file, text)?;
        let version = sh::apart(Command::new(&program).arg("-v"))?.remarks;
        let mut command = Command::new(&program);
        command.arg("-p").arg(folder).arg("-c").arg(&file);
        command.arg("-e").arg(folder.join("nginx.log"));
        let version = version.trim().rsplit('/').next().unwrap_or_default();
        Self::start(format!("nginx {version}"), command, port, folder)
    }

    pub(super) fn haproxy(upstream: u16, folder: &Path) -> Result<Self> {
        let program = setup::proxy("haproxy").ok_or("there is no haproxy")?;
        let (port, file) = (free_port()?, folder.join("haproxy.cfg"));
        let text = HAPROXY
            .replace("UPSTREAM", &upstream.to_string())
            .replace("PORT", &port.to_string());
        fs::write(&file, text)?;
        let version = sh::apart(Command::new(&program).arg("-v"))?.output;
        let version = version.split_whitespace().nth(2).unwrap_or_default();
        let version = version.split('-').next().unwrap_or_default().to_owned();
        let mut command = Command::new(&program);
        command.arg("-db").arg("-f").arg(&file);
        Self::start(format!("haproxy {version}"), command, port, folder)
    }

    fn start(name: String, mut command: Command, port: u16, folder: &Path) -> Result<Self> {
        let word = name.replace(' ', "-");
        let log = folder.join(format!("{word}.out"));
        let file = fs::File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("can't start {name}: {error}"))?;
        let mut door = Self { name, child, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline || door.child.try_wait()?.is_some() {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("{} does not listen; it said:\n{said}", door.name).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(door)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const NGINX: &str = r#"
daemon off;
master_process off;
pid FOLDER/nginx.pid;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    server {
        listen 127.0.0.1:PORT;
        location /secret { return 403; }
        location / {
            proxy_pass http://127.0.0.1:UPSTREAM;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $host;
        }
    }
}
"#;

const HAPROXY: &str = r"
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 30s
frontend door
    bind 127.0.0.1:PORT
    http-request deny if { path_beg /secret }
    default_backend behind
backend behind
    server one 127.0.0.1:UPSTREAM
";
