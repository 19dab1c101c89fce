//! Pages of up to 1,000 rows: their owner answers with as many as a message holds, and is asked on until the page is full.

use roadstead_contracts::Result;
use roadstead_contracts::message::{ListOperations, ListRollouts, Page, PageRequest, Request};
use roadstead_http_kit::RequestContext;

use super::App;

/// Times the owner is asked for one page: 1,000 operations come in a handful. What is left is told by the cursor.
const ROUNDS_MAX: usize = 40;

/// A question for a page.
pub(crate) trait Paged {
    /// Which page.
    fn page(&mut self) -> &mut PageRequest;
}

impl Paged for ListOperations {
    fn page(&mut self) -> &mut PageRequest {
        &mut self.page
    }
}

impl Paged for ListRollouts {
    fn page(&mut self) -> &mut PageRequest {
        &mut self.page
    }
}

impl App {
    /// Reads a page as long as it was asked for, or to the end of the list.
    pub(crate) async fn read_page<R, T>(&self, mut request: R, context: &RequestContext) -> Result<Page<T>>
    where
        R: Request<Reply = Page<T>> + Paged,
    {
        let wanted = request.page().limit as usize;
        let mut read = self.look_up(&request, context).await?;
        for _ in 0..ROUNDS_MAX {
            let left = wanted.saturating_sub(read.items.len());
            let Some(cursor) = read.next_cursor.take_if(|_| left > 0) else { break };
            let limit = u32::try_from(left).unwrap_or(u32::MAX);
            *request.page() = PageRequest { limit, offset: 0, cursor: Some(cursor) };
            let more = self.look_up(&request, context).await?;
            read.items.extend(more.items);
            read.next_cursor = more.next_cursor;
        }
        Ok(read)
    }
}
