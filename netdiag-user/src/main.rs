//! The thin binary; everything is in the library.
use std::io::Write;

use env_logger::fmt::ConfigurableFormat;
use netdiag::{
    cli::{Cli, exit, language, node_root, power},
    model::text,
};

#[global_allocator]
static MEMORY: netdiag::sys::memory::Bounded = netdiag::sys::memory::Bounded;

fn main() {
    let cli = Cli::typed();
    set_up_logs(&cli);
    netdiag_lang::choose(language::of(&cli.command, cli.global.lang));
    node_root::tell();
    if cli.global.no_color {
        anstream::ColorChoice::Never.write_global();
    }
    power::settle(&cli.command);
    // The lab enters namespaces with threads of its own and brings its own runtime.
    #[cfg(feature = "lab")]
    if let netdiag::cli::Command::Lab(args) = cli.command {
        return finish(netdiag::cli::lab::run(args));
    }
    netdiag::sys::thrift::begin();
    if let Err(e) = netdiag::sys::limits::hold() {
        return finish(Err(anyhow::Error::new(e).context("limiting its own memory")));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => return finish(Err(anyhow::Error::new(e).context("starting the runtime"))),
    };
    let result = runtime.block_on(cli.command.run(&cli.global));
    // Threads that still wait for something outside do not keep us.
    runtime.shutdown_background();
    finish(result);
}

fn set_up_logs(cli: &Cli) {
    let level = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    // Who asked the API tells of its failures, in a sentence that says what was asked.
    let others = match cli.global.verbose {
        0 | 1 => "error,kube_client::client::builder=off",
        _ => "error",
    };
    let filter = format!("{others},netdiag={level},netdiag_ebpf={level}");
    let mut form = ConfigurableFormat::default();
    form.timestamp(None).target(false);
    let environment = env_logger::Env::new().filter_or("NETDIAG_LOG", filter);
    let mut builder = env_logger::Builder::from_env(environment);
    #[cfg(feature = "top")]
    if cli.command.is_screen() {
        let to = netdiag::cli::top::messages::Writer;
        builder.target(env_logger::Target::Pipe(Box::new(to)));
    }
    builder
        .format(move |to, record| {
            // What is told may be others' words.
            let message = text::lines(&record.args().to_string());
            let mut clean = log::Record::builder();
            clean.level(record.level());
            form.format(to, &clean.args(format_args!("{message}")).build())
        })
        .init();
}

/// Ends the process. A reader that went away (`netdiag … | head`) is no failure.
fn finish(result: anyhow::Result<i32>) {
    let code = match result {
        Ok(code) => code,
        Err(e) if is_broken_pipe(&e) => exit::OK,
        Err(e) => {
            let why = text::lines(&format!("{e:#}"));
            let _ = writeln!(std::io::stderr(), "netdiag: {why}");
            if e.downcast_ref::<netdiag::cli::Usage>().is_some() {
                exit::USAGE
            } else {
                exit::ENVIRONMENT
            }
        }
    };
    std::process::exit(code);
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        e.downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
