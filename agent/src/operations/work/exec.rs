//! A command in a container: run once, never again by itself.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use roadstead_contracts::operation::{Counts, Ending, RunEnding, RunEvent, Work};
use roadstead_contracts::{Code, Error};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Halt, Job, failed, object_error};
use crate::kubernetes::Failure;
use crate::kubernetes::objects::Objects;
use crate::operations::ledger::{Keep, Record};

/// Output that is kept; the rest is read and dropped, so that the command does not hang.
pub(super) const OUTPUT_MAX: usize = 1024 * 1024;
/// Piece of output that is told at once.
pub(super) const PIECE: usize = 16 * 1024;
/// Words of a command, and bytes of all of them: what an API server's URL takes.
const WORDS_MAX: usize = 256;
const COMMAND_MAX: usize = 16 * 1024;
const CUT: &str = "\n… the output is longer than 1 MiB and is cut here\n";

/// Runs the command of the work.
pub(super) async fn run(job: &mut Job, objects: &Objects) -> Result<RunEnding, Halt> {
    let Work::Exec { namespace, pod, container, command } = job.plan.order.head.work.clone() else {
        return Ok(failed(Error::of(Code::Internal)));
    };
    let bytes: usize = command.iter().map(String::len).sum();
    if command.is_empty() || command.len() > WORDS_MAX || bytes > COMMAND_MAX {
        return Ok(failed(Error::new(Code::Validation, "the command is empty or too long")));
    }
    if job.stop()?.is_some() {
        return Ok(ended(Ending::Cancelled, None, None));
    }
    let api: Api<Pod> = Api::namespaced(objects.client().clone(), &namespace);
    let parameters = AttachParams { container, stdin: false, stdout: true, stderr: true, ..AttachParams::default() };
    let mut attached = match api.exec(&pod, command, &parameters).await {
        Ok(attached) => attached,
        Err(error) => return Ok(failed(object_error(&Failure::judge(&error)))),
    };
    let (status, mut out, mut err) = (attached.take_status(), attached.stdout(), attached.stderr());
    let mut room = OUTPUT_MAX;
    let (mut out_piece, mut err_piece) = (vec![0; PIECE], vec![0; PIECE]);
    let stopped = loop {
        if out.is_none() && err.is_none() {
            break None;
        }
        let read = tokio::select! {
            read = next(&mut out, &mut out_piece) => (read, false),
            read = next(&mut err, &mut err_piece) => (read, true),
            () = job.told_to_stop() => break Some(Ending::Cancelled),
            () = tokio::time::sleep_until(job.deadline) => break Some(Ending::TimedOut),
        };
        let (length, stderr) = read;
        if length == 0 {
            if stderr {
                err = None;
            } else {
                out = None;
            }
            continue;
        }
        let piece = if stderr { &err_piece } else { &out_piece };
        tell(job, piece.get(..length).unwrap_or_default(), stderr, &mut room).await?;
    };
    if let Some(ending) = stopped {
        // The command may go on in its container: Kubernetes has no way to end it.
        attached.abort();
        if ending == Ending::Cancelled {
            job.leave()?;
        }
        let why = "the connection was cut; the command may still run in its container";
        return Ok(ended(ending, Some(Error::new(Code::Timeout, why)), None));
    }
    let status = match status {
        Some(status) => tokio::time::timeout_at(job.deadline, status).await.ok().flatten(),
        None => None,
    };
    let Some(status) = status else {
        let why = "the connection to the container broke off before the command's end was known";
        return Ok(ended(Ending::Interrupted, Some(Error::new(Code::AgentError, why)), None));
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(ended(Ending::Succeeded, None, Some(0)));
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = code.and_then(|cause| cause.message.as_deref()?.parse::<i32>().ok());
    let why: String = status.message.unwrap_or_default().chars().filter(|it| !it.is_control()).take(512).collect();
    Ok(ended(Ending::Failed, Some(Error::new(Code::AgentError, why)), code))
}

/// The next bytes of a stream; none at its end.
pub(super) async fn next<R: AsyncRead + Unpin>(reader: &mut Option<R>, piece: &mut [u8]) -> usize {
    match reader {
        // A broken stream is an ended one; how the command ended is said elsewhere.
        Some(reader) => reader.read(piece).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// Tells a piece of output, while there is room for it.
pub(super) async fn tell(job: &mut Job, piece: &[u8], stderr: bool, room: &mut usize) -> Result<(), Halt> {
    if *room == 0 {
        return Ok(());
    }
    let kept = piece.get(..piece.len().min(*room)).unwrap_or_default();
    *room -= kept.len();
    let mut text = String::from_utf8_lossy(kept).into_owned();
    if *room == 0 {
        text.push_str(CUT);
    }
    let told = RunEvent::Output { text, stderr };
    job.ledger.add(vec![Record::Event { told }], Keep::Written).await?;
    job.publish();
    Ok(())
}

fn ended(ending: Ending, error: Option<Error>, exit_code: Option<i32>) -> RunEnding {
    RunEnding { ending, counts: Counts::default(), error, exit_code }
}
