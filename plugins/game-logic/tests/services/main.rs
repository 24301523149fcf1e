//! The arena and its services, rank and chat: what it asks of them, and what becomes of it when calls fail, get lost or
//! find nobody.

mod desk;
mod scores;
mod talk;
