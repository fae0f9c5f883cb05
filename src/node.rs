//! One running Gusher.
