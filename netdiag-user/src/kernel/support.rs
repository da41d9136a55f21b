//! What this kernel and these privileges allow, feature by feature.
