"""The record-wise merge of passwd, group, shadow, gshadow, subuid and subgid."""
