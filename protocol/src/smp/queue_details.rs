//! The state of a queue as `QUE` shows it to its recipient (smp.md §7.3): JSON, for debugging.

use serde::{Deserialize, Serialize};

use crate::encoding::DecodeError;

/// The parameters of `INFO`. Absent fields are omitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueDetails {
    /// Whether the queue is secured.
    #[serde(rename = "qiSnd")]
    pub secured: bool,
    /// Whether there is a notifier.
    #[serde(rename = "qiNtf")]
    pub has_notifier: bool,
    /// The subscription of the connection that asks, if it has one.
    #[serde(rename = "qiSub", skip_serializing_if = "Option::is_none", default)]
    pub subscription: Option<SubscriptionDetails>,
    /// How many messages wait, with the marker of a full queue.
    #[serde(rename = "qiSize")]
    pub messages: i64,
    /// The first message.
    #[serde(rename = "qiMsg", skip_serializing_if = "Option::is_none", default)]
    pub first_message: Option<MessageDetails>,
}

/// A subscription in [`QueueDetails`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionDetails {
    /// How the server delivers.
    #[serde(rename = "qSubThread")]
    pub delivery: Delivery,
    /// The message that was delivered and not acknowledged: its id in standard base64.
    #[serde(rename = "qDelivered", skip_serializing_if = "Option::is_none", default)]
    pub delivered: Option<String>,
}

/// How a server delivers to a subscription. The names are of another server's insides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// Subscribed, nothing waits to be sent: the usual state.
    NoSub,
    /// A message is about to wait for room to be sent.
    SubPending,
    /// A message waits for room to be sent.
    SubThread,
    /// The connection uses `GET`, so it may not subscribe.
    ProhibitSub,
}

/// A message in [`QueueDetails`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDetails {
    /// The message's id in standard base64.
    #[serde(rename = "msgId")]
    pub id: String,
    /// When the server received it: ISO 8601, UTC.
    #[serde(rename = "msgTs")]
    pub received_at: String,
    /// Whether it is a message.
    #[serde(rename = "msgType")]
    pub kind: MessageKind,
}

/// What stands in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MessageKind {
    /// A message.
    Message,
    /// The marker of a full queue.
    Quota,
}

impl QueueDetails {
    pub(super) fn from_json(json: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice(json).map_err(|_| DecodeError::Invalid("queue details"))
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and booleans always have a JSON form")
    }
}
