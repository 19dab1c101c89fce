//! Takes a chart for a release: looked at before anything of it is kept, fetched first where only its address came.

use bytes::Bytes;
use roadstead_contracts::operation::{BODY_MAX, CHART_FILE, Work};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::outgoing::Fault;
use roadstead_http_kit::room::Share;
use roadstead_http_kit::{Caller, RequestContext};
use roadstead_manifest::{bundle, check_chart};

use super::App;
use super::create_operation::{Begin, Created, Terms};
use super::read_manifests::SourceFile;

/// Files of values of one install.
const VALUES_MAX: usize = 16;
/// All of them together: Helm keeps them in the release's Secret.
const VALUES_BYTES_MAX: usize = 1024 * 1024;
/// When to ask again for what there was no room for.
const RETRY_SECONDS: u32 = 2;

/// Where a chart comes from.
#[derive(Debug)]
pub(crate) enum ChartSource {
    /// Its archive.
    Archive(Bytes),
    /// The address of its archive; the hub fetches it, and holds it within this share of the room for bodies.
    Address(String, Share),
}

/// A chart for a release of one cluster.
pub(crate) struct NewChart {
    /// Id, integer or name.
    pub(crate) cluster: String,
    pub(crate) work: Work,
    pub(crate) chart: ChartSource,
    /// Later ones win.
    pub(crate) values: Vec<SourceFile>,
    pub(crate) terms: Terms,
}

impl App {
    /// Starts an operation that installs or upgrades a release.
    pub(crate) async fn install_chart(
        &self,
        caller: &Caller,
        new: NewChart,
        context: &RequestContext,
    ) -> Result<Created> {
        let cluster = self.cluster(caller, &new.cluster, context).await?;
        // The share stays until the operation is made, as the one of an archive that came with the request.
        let (archive, _share) = match new.chart {
            ChartSource::Archive(archive) => (archive, None),
            ChartSource::Address(address, mut share) => (self.fetch_chart(&address, &mut share).await?, Some(share)),
        };
        let values = new.values;
        let bytes: usize = values.iter().map(|file| file.text.len()).sum();
        if values.len() > VALUES_MAX || bytes > VALUES_BYTES_MAX || archive.len() + bytes > BODY_MAX {
            let message = "a chart and its values have at most 8 MiB, the values 16 files and 1 MiB";
            return Err(Error::new(Code::PayloadTooLarge, message));
        }
        if values.iter().any(|file| std::str::from_utf8(&file.text).is_err()) {
            return Err(Error::field(&["body", "values"], "value_error", "values must be UTF-8"));
        }
        let packing = tokio::task::spawn_blocking(move || -> Result<Vec<u8>> {
            check_chart(&archive)?;
            // Their own names are nobody's business further in.
            let names: Vec<String> = (1..=values.len()).map(|number| format!("values-{number}.yaml")).collect();
            let values = names.iter().zip(&values).map(|(name, file)| (name.as_str(), &file.text[..]));
            Ok(bundle(std::iter::once((CHART_FILE, &archive[..])).chain(values)))
        });
        let body = packing.await.map_err(|_| Error::of(Code::Internal))??;
        if body.len() > BODY_MAX {
            return Err(Error::of(Code::PayloadTooLarge));
        }
        let body_sha256 = Some(self.bodies.stage(Bytes::from(body)).await?);
        let operation =
            self.begin(caller, Begin { cluster, work: new.work, body_sha256, terms: new.terms }, context).await?;
        Ok(Created { operation, documents: 0 })
    }

    /// Fetches an archive, where the policy for outgoing addresses lets the hub dial. No redirects.
    async fn fetch_chart(&self, address: &str, share: &mut Share) -> Result<Bytes> {
        let fault = |message: String| Error::field(&["query", "chart"], "value_error", message);
        match self.outgoing.get_within(address, BODY_MAX, share).await {
            Ok(answer) if answer.status == 200 => Ok(answer.body),
            Ok(answer) => Err(fault(format!("the chart's server answered with {}", answer.status))),
            Err(Fault::NotAllowed) => Err(Error::of(Code::AddressNotAllowed)),
            Err(Fault::Address) => Err(fault("chart must be an http(s) address of an archive".to_owned())),
            Err(Fault::TooLong(_)) => Err(Error::of(Code::PayloadTooLarge)),
            Err(Fault::NoRoom) => {
                Err(Error::new(Code::Unavailable, "there is no room for the chart now").retry_after(RETRY_SECONDS))
            }
            Err(Fault::Unreachable(why)) => {
                tracing::info!("a chart was not fetched: {why}");
                Err(fault("the chart's server did not answer".to_owned()))
            }
        }
    }
}
