//! `governd run` and `governd up`: the daemon, under a service manager or talking to a person.

use clap::Args;

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags::Daemon,
    printer::Printer,
    watch,
};
use crate::{
    app::{self, App, StartError, catalogue::CatalogueError, confinement, exporting::ExportError},
    kernel::memory,
    settings::{PolicySource, Settings},
    telemetry,
};

/// Flags of `governd run`.
#[derive(Args, Debug)]
pub(super) struct Run {
    #[command(flatten)]
    daemon: Daemon,
}

/// Flags of `governd up`.
#[derive(Args, Debug)]
pub(super) struct Up {
    #[command(flatten)]
    daemon: Daemon,
    /// Print events as JSON, one a line.
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(super) fn run(self) -> Outcome {
        telemetry::start("info");
        govern(&self.daemon.settings(), None)
    }
}

impl Up {
    pub(super) fn run(self) -> Outcome {
        telemetry::start("warn");
        let settings = self.daemon.trial_settings();
        govern(&settings, Some(Printer::new(self.json)))
    }
}

fn govern(settings: &Settings, printer: Option<Printer>) -> Outcome {
    memory::keep_little();
    confinement::daemon().map_err(failure)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::plain(Exit::Environment, error))?;
    runtime.block_on(async {
        let mut app = App::build(settings).map_err(failure)?;
        confinement::refuse_calls();
        memory::give_back();
        let mut following = None;
        if let Some(printer) = printer {
            greet(&printer, settings, &app);
            let events = app.take_events();
            following = events.map(|events| tokio::spawn(watch::follow(events, printer)));
        }
        app.run().await.map_err(|error| Failure::plain(Exit::Internal, error))?;
        if let Some(following) = following {
            following.await.map_err(|error| Failure::plain(Exit::Internal, error))?;
        }
        if let Some(printer) = printer {
            printer.note("governd has stopped; nothing of it is left in the kernel");
        }
        Ok(Exit::Yes)
    })
}

fn greet(printer: &Printer, settings: &Settings, app: &App) {
    let source = match &settings.policy {
        PolicySource::BuiltIn => "no policy yet: everything is watched, nothing is stopped".into(),
        PolicySource::Path(path) => format!("policy {}", path.display()),
    };
    printer.note(format_args!(
        "governd {} is watching {} ({source}); Ctrl-C ends it and leaves nothing in the kernel",
        app::VERSION,
        app.cgroup().display(),
    ));
    if let Some(sink) = app.trial_sink() {
        printer.note(format_args!(
            "a sink in this process takes what is recorded; `governd sink hosts --dir {}` asks it",
            sink.display(),
        ));
    }
}

fn failure(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Policy(_)
        | StartError::PolicyKey(_)
        | StartError::Catalogue(CatalogueError::Invalid(_))
        | StartError::Export(ExportError::Invalid(_) | ExportError::SetUp(_)) => Exit::Invalid,
        StartError::Catalogue(CatalogueError::Unreadable(_))
        | StartError::Kernel(_)
        | StartError::Log(_)
        | StartError::Export(ExportError::Unreadable { .. } | ExportError::Start { .. })
        | StartError::Control(_)
        | StartError::Metrics(_)
        | StartError::Service(_)
        | StartError::Descriptors(_)
        | StartError::Controls(_)
        | StartError::Lifecycle(_)
        | StartError::System(_) => Exit::Environment,
    };
    let hint = error.hint();
    Failure { exit, error: error.into(), hint }
}
