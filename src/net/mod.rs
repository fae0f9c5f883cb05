//! Bytes: streams, timers and the WebSocket protocol. Knows no word of the product.

pub mod descriptors;
pub mod proxy_protocol;
pub mod ring;
pub mod stream;
pub mod timer;
mod tls;
pub mod websocket;
